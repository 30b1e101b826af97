//! The lane that a copy came from, where the members of a group share by lanes.

/// A lane of a group, as a copy in flight knows it. Lanes are numbered anew when the strategy of the group
/// changes: a lane of before says so by its era.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lane(u16);

/// How many lanes a group has at most.
pub const LANES_MAX: u16 = 1 << NUMBER_BITS;

const NUMBER_BITS: u32 = 10;
/// The last era is that of [`Lane::NONE`].
const ERAS: u16 = (1 << (u16::BITS - NUMBER_BITS)) - 1;

impl Lane {
    /// Of a copy that came from no lane, or for which none waits.
    pub const NONE: Lane = Lane(u16::MAX);

    /// Lane `number`, below [`LANES_MAX`], of an era: those repeat.
    pub fn new(number: u16, era: u16) -> Lane {
        debug_assert!(number < LANES_MAX, "there are no more lanes");
        Lane((era % ERAS) << NUMBER_BITS | number)
    }

    /// Its number, if it is of this era.
    pub fn of_era(self, era: u16) -> Option<u16> {
        let number = self.0 & (LANES_MAX - 1);
        (self == Lane::new(number, era)).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_of_its_era_and_none_is_of_no_era() {
        for era in [0, 1, 61, 62, 63, 1000] {
            assert_eq!(Lane::NONE.of_era(era), None);
            for number in [0, 1, LANES_MAX - 1] {
                let lane = Lane::new(number, era);
                assert_eq!(lane.of_era(era), Some(number));
                assert_eq!(lane.of_era(era + 1), None);
            }
        }
    }
}
