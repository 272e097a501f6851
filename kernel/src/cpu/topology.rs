//! Which CPUs the machine has: what ACPI's MADT (Multiple APIC Description Table) says, as far as it can be believed.
//!
//! Finding and naming the tables is the crate `acpi`'s business. It believes them, though, and a kernel must boot whatever
//! firmware wrote: so nothing is read that is not mapped, and every length is looked at before anybody follows it. Whatever
//! is wrong leaves the CPU that is running anyway.

use super::given;
use crate::arch::local::MAX_CPUS;
use acpi::madt::{Madt, MadtEntry};
use acpi::rsdp::Rsdp;
use acpi::sdt::SdtHeader;
use acpi::{AcpiError, AcpiHandler, AcpiTables, PhysicalMapping};
use core::fmt;
use core::mem::size_of;
use core::pin::Pin;
use core::ptr::NonNull;
use core::slice;
use x86_64::PhysAddr;

/// Bytes of the largest table that is believed: enough for some thousand CPUs.
const LARGEST_TABLE: usize = 1 << 20;

/// The CPUs that firmware says can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The numbers of their local APICs, in the order of the table; the first [`Topology::count`] are valid.
    apic_ids: [u32; MAX_CPUS],
    count: usize,
    /// How many there are beyond [`MAX_CPUS`].
    pub surplus: usize,
}

/// Why only the running CPU is known.
#[derive(Debug)]
pub enum TopologyError {
    /// The boot loader has found no ACPI tables.
    NoAcpi,
    /// The tables cannot be read.
    Acpi(AcpiError),
    /// A table of that physical address claims a length that it cannot have.
    BadLength(u64),
    /// The MADT ends before its header does, or inside the entry that begins at that byte.
    BadMadt(usize),
    /// The MADT does not list a single CPU that can be used.
    NoCpu,
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAcpi => f.write_str("there are no ACPI tables"),
            Self::Acpi(AcpiError::TableMissing(_)) => f.write_str("the ACPI tables have no usable MADT"),
            Self::Acpi(error) => write!(f, "the ACPI tables are broken: {error:?}"),
            Self::BadLength(address) => write!(f, "the ACPI table at {address:#x} has an impossible length"),
            Self::BadMadt(byte) => write!(f, "the MADT is cut off or broken at byte {byte}"),
            Self::NoCpu => f.write_str("the MADT lists no CPU that can be used"),
        }
    }
}

impl core::error::Error for TopologyError {}

/// Reads the machine's topology from the tables behind the root pointer at that physical address.
///
/// # Errors
/// [`TopologyError`], if there is none that can be believed.
pub fn read(root_pointer: Option<u64>) -> Result<Topology, TopologyError> {
    let address = root_pointer.ok_or(TopologyError::NoAcpi)? as usize;
    // SAFETY: what is not mapped is shown as zeros, and any bytes are a root pointer, if not a valid one.
    let pointer = unsafe { Shown.map_physical_region::<Rsdp>(address, size_of::<Rsdp>()) };
    // The pointer's own length is only as good as the rest of it.
    if pointer.signature() != *b"RSD PTR " {
        return Err(TopologyError::Acpi(AcpiError::RsdpIncorrectSignature));
    }
    if pointer.revision() > 0 && pointer.length() as usize > size_of::<Rsdp>() {
        return Err(TopologyError::BadLength(address as u64));
    }
    pointer.validate().map_err(TopologyError::Acpi)?;
    let root = match pointer.revision() {
        0 => u64::from(pointer.rsdt_address()),
        _ => pointer.xsdt_address(),
    };
    // SAFETY: what is not mapped is shown as zeros, and any bytes are a table's header, if not a valid one.
    let header = unsafe { Shown.map_physical_region::<SdtHeader>(root as usize, size_of::<SdtHeader>()) };
    if !(size_of::<SdtHeader>()..=LARGEST_TABLE).contains(&(header.length as usize)) {
        return Err(TopologyError::BadLength(root));
    }
    // SAFETY: the root pointer is valid, and whatever it leads to is looked at in the same way.
    let tables = unsafe { AcpiTables::from_validated_rsdp(Shown, pointer) }.map_err(TopologyError::Acpi)?;
    let madt = tables.find_table::<Madt>().map_err(TopologyError::Acpi)?;
    let bytes = madt.virtual_start().as_ptr().cast::<u8>();
    // SAFETY: the handler has mapped so many bytes, which the crate has read for the checksum.
    parse(unsafe { slice::from_raw_parts(bytes, madt.region_length()) })
}

/// Reads a MADT, whose checksum has been verified.
///
/// # Errors
/// [`TopologyError`], if an entry does not fit into the table, or none is a CPU that can be used.
pub fn parse(table: &[u8]) -> Result<Topology, TopologyError> {
    check(table)?;
    // SAFETY: the table is larger than its header and as long as that says. The type has no alignment.
    let madt = unsafe { Pin::new_unchecked(&*table.as_ptr().cast::<Madt>()) };
    let mut topology = Topology { apic_ids: [0; MAX_CPUS], count: 0, surplus: 0 };
    for entry in madt.entries() {
        /// Set for a CPU that can be used now; one that could be plugged in has it clear.
        const ENABLED: u32 = 1;
        // A number of all ones is no CPU's: it names all of them at once (Linux: `acpi_parse_lapic`, `acpi_parse_x2apic`).
        match entry {
            MadtEntry::LocalApic(cpu) if cpu.flags & ENABLED != 0 && cpu.apic_id != u8::MAX => {
                topology.add(cpu.apic_id.into());
            }
            MadtEntry::LocalX2Apic(cpu) if cpu.flags & ENABLED != 0 && cpu.x2apic_id != u32::MAX => {
                topology.add(cpu.x2apic_id);
            }
            _ => {}
        }
    }
    if topology.count == 0 { Err(TopologyError::NoCpu) } else { Ok(topology) }
}

/// Looks at every entry's length: each must have room for what its type promises, and lie in the table.
fn check(table: &[u8]) -> Result<(), TopologyError> {
    let claimed = table.get(4..8).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize);
    if claimed != Some(table.len()) || table.len() < size_of::<Madt>() {
        return Err(TopologyError::BadMadt(0));
    }
    let mut byte = size_of::<Madt>();
    while byte < table.len() {
        let [kind, length] = *table.get(byte..byte + 2).ok_or(TopologyError::BadMadt(byte))? else { unreachable!() };
        // The lengths that ACPI gives the entries that are read; all others need their two bytes.
        let least = match kind {
            0 => 8,
            9 => 16,
            _ => 2,
        };
        if usize::from(length) < least || byte + usize::from(length) > table.len() {
            return Err(TopologyError::BadMadt(byte));
        }
        byte += usize::from(length);
    }
    Ok(())
}

impl Topology {
    /// Adds a CPU; firmware may list one twice.
    fn add(&mut self, apic_id: u32) {
        if self.apic_ids().contains(&apic_id) {
            return;
        }
        match self.apic_ids.get_mut(self.count) {
            Some(slot) => {
                *slot = apic_id;
                self.count += 1;
            }
            None => self.surplus += 1,
        }
    }

    /// The numbers of the CPUs' local APICs.
    pub fn apic_ids(&self) -> &[u32] {
        &self.apic_ids[..self.count]
    }
}

/// Shows the tables where the memory map has them.
#[derive(Clone, Copy, Debug)]
struct Shown;

/// What is shown in place of memory that is not known: no table looks like that.
static NOTHING: [u64; 16] = [0; 16];

impl AcpiHandler for Shown {
    unsafe fn map_physical_region<T>(&self, physical_address: usize, size: usize) -> PhysicalMapping<Self, T> {
        let start = PhysAddr::try_new(physical_address as u64).ok().filter(|_| (1..=LARGEST_TABLE).contains(&size));
        let shown = start.and_then(|start| given::memory()?.show(start, size as u64));
        let (address, length) = match shown {
            Some(address) => (address.as_ptr::<T>(), size),
            None => (NOTHING.as_ptr().cast(), size_of::<T>().min(size_of_val(&NOTHING))),
        };
        let mapped = NonNull::new(address.cast_mut()).expect("neither the window nor a static is at address 0");
        // SAFETY: so many bytes are mapped for as long as the kernel runs, and nobody changes them.
        unsafe { PhysicalMapping::new(physical_address, mapped, length, length, *self) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}
