//! Machine checks: what the processor and its memory say of errors of their own.

use core::arch::x86_64::__cpuid;
use core::fmt;
use x86_64::registers::model_specific::Msr;

/// How many banks there are, in its low byte, and whether [`ENABLED`] is there.
const CAPABILITIES: u32 = 0x179;
const HAS_ENABLED: u64 = 1 << 8;
/// Which units report errors at all.
const ENABLED: u32 = 0x17b;
/// The first bank's registers; each bank has four.
const FIRST_BANK: u32 = 0x400;

/// What a bank says of an error.
pub struct Error {
    bank: u32,
    status: u64,
    address: Option<u64>,
}

fn read(register: u32) -> u64 {
    // SAFETY: machine check registers, which this processor has as its number of banks says; reading changes nothing.
    unsafe { Msr::new(register).read() }
}

/// How many banks this CPU has.
fn banks() -> u32 {
    // Leaf 1, register EDX: the registers are there.
    let is_there = __cpuid(1).edx >> 14 & 1 == 1;
    if is_there { (read(CAPABILITIES) & 0xff) as u32 } else { 0 }
}

/// Has every bank of the CPU that runs this report its errors.
pub(crate) fn init() {
    let version = __cpuid(1).eax;
    let (family, model) = (version >> 8 & 0xf, version >> 4 & 0xf | version >> 12 & 0xf0);
    // Intel: of the P6 family's first members that one is the firmware's (Linux: `mce_quirks`).
    let first = u32::from(family == 6 && model < 0x1a);
    if banks() > 0 && read(CAPABILITIES) & HAS_ENABLED != 0 {
        // SAFETY: the register is there, and there is a handler for what is reported.
        unsafe { Msr::new(ENABLED).write(!0) };
    }
    for bank in first..banks() {
        // SAFETY: as many banks are there, and there is a handler for what they report.
        unsafe { Msr::new(FIRST_BANK + 4 * bank).write(!0) };
    }
}

/// The errors that this CPU's banks hold.
pub fn errors() -> impl Iterator<Item = Error> {
    const VALID: u64 = 1 << 63;
    const HAS_ADDRESS: u64 = 1 << 58;
    (0..banks()).filter_map(|bank| {
        let [status, address] = [1, 2].map(|register| FIRST_BANK + 4 * bank + register);
        let status = read(status);
        let address = (status & HAS_ADDRESS != 0).then(|| read(address));
        (status & VALID != 0).then_some(Error { bank, status, address })
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bank, status, address } = self;
        write!(f, "bank {bank} has status {status:#018x}")?;
        address.map_or(Ok(()), |address| write!(f, ", address {address:#x}"))
    }
}
