//! Properties: the one table (MQTT 5, 2.2.2.2) and the borrowed, checked block.

/// A checked block of properties, borrowed, without its length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties(&[]);

    /// Takes over a block that was checked before: one that [`Properties::forwarded`] of a
    /// decoded PUBLISH or Will wrote, kept in a message.
    pub fn trusted(block: &'a [u8]) -> Properties<'a> {
        Properties(block)
    }

    /// The bytes of the block.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes [`Properties::forwarded`] writes.
    pub fn forwarded_len(&self) -> usize {
        todo!()
    }

    /// Appends what a broker forwards unaltered with a message, in order: everything but Topic
    /// Alias, Message Expiry Interval, Subscription Identifier and Will Delay Interval.
    pub fn forwarded(&self, _out: &mut Vec<u8>) {
        todo!()
    }

    /// The Subscription Identifiers in the block, in order.
    pub fn subscription_ids(&self) -> Vec<u32> {
        todo!()
    }

    /// The User Properties in the block, in order.
    pub fn user_properties(&self) -> Vec<(&'a str, &'a str)> {
        todo!()
    }
}
