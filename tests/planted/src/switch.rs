//! What a copy asks whether a mistake is in force, and how it is told.

/// The crate's tests are told by the environment, with the mistake's number; none is in force if it is not set.
pub(crate) const VARIABLE: &str = "BIFOLIO_PLANTED";

/// For the crate's `lib.rs`.
pub(crate) const OF_THE_CRATE: &str = r#"
#[doc(hidden)]
#[allow(missing_docs)]
pub mod planted {
    extern crate std;
    static PLANTED: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    pub fn is(number: usize) -> bool {
        let planted = || std::env::var("BIFOLIO_PLANTED").ok().and_then(|number| number.parse().ok()).unwrap_or(0);
        *PLANTED.get_or_init(planted) == number
    }
}
"#;

/// A kernel is told by a file in QEMU's `fw_cfg`: the argument for QEMU.
pub(crate) fn for_qemu(number: usize) -> String {
    format!("-fw_cfg name=opt/bifolio/planted,string={number}")
}

/// For the kernel's `lib.rs`. The boot processor asks first, alone, before there is anything else.
pub(crate) const OF_THE_KERNEL: &str = r#"
#[doc(hidden)]
#[allow(missing_docs)]
pub mod planted {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    const UNKNOWN: usize = usize::MAX;
    static PLANTED: AtomicUsize = AtomicUsize::new(UNKNOWN);
    pub fn is(number: usize) -> bool {
        if PLANTED.load(Relaxed) == UNKNOWN {
            PLANTED.store(read().unwrap_or(0), Relaxed);
        }
        PLANTED.load(Relaxed) == number
    }
    fn read() -> Option<usize> {
        // SAFETY: there is nobody else yet who might use the device.
        let mut device = unsafe { qemu_fw_cfg::FwCfg::new_for_x86() }.ok()?;
        let file = device.find_file("opt/bifolio/planted")?;
        let mut text = [0; 8];
        device.read_file_to_buffer(&file, &mut text);
        core::str::from_utf8(text.get(..file.size())?).ok()?.parse().ok()
    }
}
"#;
