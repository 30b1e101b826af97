//! Decoding a PUBLISH, and encoding one into a buffer with room, allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::num::NonZeroU16;

use sluicemq::codec::property::put_user_property;
use sluicemq::codec::{
    DecodeLimits, Decoded, Packet, Properties, Publish, QoS, Sender, Version, decode, encode,
};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed to the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_publish_is_read_and_written_without_allocation() {
    let mut block = vec![0x01, 1, 0x08, 0, 1, b'r', 0x09, 0, 1, 0xFF];
    put_user_property(&mut block, "name", "value");
    for version in [Version::V31, Version::V311, Version::V5] {
        for (qos, packet_id) in
            [(QoS::AtMostOnce, None), (QoS::ExactlyOnce, NonZeroU16::new(65_535))]
        {
            let packet = Packet::Publish(Publish {
                qos,
                packet_id,
                topic: "factory/line7/sensor/temp",
                topic_alias: NonZeroU16::new(9),
                expiry: Some(60),
                subscription_ids: &[],
                properties: Properties::trusted(&block),
                payload: &[0xAA; 300],
                ..Publish::default()
            });
            let mut wire = Vec::with_capacity(1_000);
            let writing = allocations(|| {
                encode(&packet, version, usize::MAX, &mut wire).expect("it fits");
            });
            let reading = allocations(|| {
                let decoded = decode(&wire, Some(version), Sender::Client, &DecodeLimits::NONE);
                assert!(matches!(decoded, Ok(Decoded::Packet { len, .. }) if len == wire.len()));
            });
            assert_eq!((writing, reading), (0, 0), "{version:?} {qos:?}");
        }
    }
}
