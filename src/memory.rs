//! Memory that was freed.

/// Asks the allocator to give back to the system what was freed; whether it did. That of glibc keeps for ever what was
/// freed among what is still in use; others return memory themselves. It takes a while where there is much, and
/// stops each thread that allocates for a moment.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a function of the C library that no safe crate offers")]
pub fn give_back() -> bool {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: it takes a number, and may be called at any time by any thread: malloc_trim(3) is MT-Safe.
    unsafe { malloc_trim(0) == 1 }
}

/// Other allocators return memory themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() -> bool {
    false
}
