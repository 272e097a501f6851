//! Which CPUs there are: tables as firmware may write them, and as it must not.

use alloc::vec;
use alloc::vec::Vec;
use kernel::cpu::MAX_CPUS;
use kernel::cpu::topology::{self, TopologyError};
use kernel::memory::paging;
use x86_64::VirtAddr;

/// A MADT with these entries, its length right.
fn madt(entries: &[&[u8]]) -> Vec<u8> {
    let mut table = vec![0; 44];
    table[..4].copy_from_slice(b"APIC");
    entries.iter().for_each(|entry| table.extend_from_slice(entry));
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table
}

/// An entry for a CPU with a local APIC of that number.
fn local_apic(number: u8, flags: u8) -> [u8; 8] {
    [0, 8, number, number, flags, 0, 0, 0]
}

fn local_x2apic(number: u32, flags: u8) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..2].copy_from_slice(&[9, 16]);
    entry[4..8].copy_from_slice(&number.to_le_bytes());
    entry[8] = flags;
    entry
}

#[test_case]
fn cpus_that_can_be_used_are_taken_from_the_table() {
    let x2 = local_x2apic(0x1_0003, 1);
    let table = madt(&[
        &local_apic(0, 1),
        &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0], // an I/O APIC
        &local_apic(7, 0),                            // switched off
        &local_apic(5, 2),                            // may be plugged in one day
        &local_apic(3, 1),
        &[0x77, 3, 9], // something reserved
        &x2,
        &local_apic(3, 1), // again
        &local_x2apic(8, 0),
        &local_apic(0xff, 1), // everybody
        &local_x2apic(u32::MAX, 1),
    ]);
    let topology = topology::parse(&table).expect("the table is in order");
    assert_eq!((topology.apic_ids(), topology.surplus), (&[0, 3, 0x1_0003][..], 0));
}

#[test_case]
fn more_cpus_than_there_is_room_for_are_counted() {
    let entries: Vec<[u8; 16]> = (0..MAX_CPUS as u32 + 36).map(|number| local_x2apic(number, 1)).collect();
    let entries: Vec<&[u8]> = entries.iter().map(|entry| &entry[..]).collect();
    let topology = topology::parse(&madt(&entries)).expect("the table is in order");
    assert_eq!((topology.apic_ids().len(), topology.surplus), (MAX_CPUS, 36));
}

#[test_case]
fn broken_tables_are_refused_with_the_place() {
    let broken = |table: &[u8]| match topology::parse(table) {
        Err(TopologyError::BadMadt(byte)) => byte,
        other => panic!("{other:?} of a broken table"),
    };
    let good = madt(&[&local_apic(0, 1), &local_apic(1, 1)]);
    // Every end but one after an entry; that one belies the length.
    for end in 0..good.len() {
        assert_eq!(broken(&good[..end]), 0);
        let mut cut = good[..end].to_vec();
        if let Some(length) = cut.get_mut(4..8) {
            length.copy_from_slice(&(end as u32).to_le_bytes());
            match end {
                44 => assert!(matches!(topology::parse(&cut), Err(TopologyError::NoCpu))),
                52 => assert_eq!(topology::parse(&cut).expect("cut behind an entry").apic_ids(), [0]),
                ..44 => assert_eq!(broken(&cut), 0),
                _ => assert_eq!(broken(&cut), if end < 52 { 44 } else { 52 }),
            }
        }
    }
    for length in [0, 1, 7, 9, 255] {
        let mut entry = local_apic(1, 1);
        entry[1] = length;
        assert_eq!(broken(&madt(&[&local_apic(0, 1), &entry])), 52, "an entry of {length} bytes");
    }
    assert_eq!(broken(&madt(&[&[5, 0]])), 44, "an entry of no bytes would be read for ever");
    assert_eq!(broken(&madt(&[&[9, 8, 0, 0, 0, 0, 0, 0]])), 44, "an entry that is too short for its type");
    let none = madt(&[&local_apic(0, 0)]);
    assert!(matches!(topology::parse(&none), Err(TopologyError::NoCpu)));
}

#[test_case]
fn root_pointers_that_lead_nowhere_are_refused() {
    assert!(matches!(topology::read(None), Err(TopologyError::NoAcpi)));
    // No pointer there; not in memory; not an address at all.
    for address in [0x1000, 0x000f_ffff_0000_0000, u64::MAX - 8] {
        assert!(matches!(topology::read(Some(address)), Err(TopologyError::Acpi(_))), "{address:#x}");
    }
    // A pointer that is in order, to a table that is not there, and one that claims to be larger than it can be.
    let mut pointer = vec![0; 4096];
    pointer[..8].copy_from_slice(b"RSD PTR ");
    pointer[15] = 2;
    pointer[20..24].copy_from_slice(&36_u32.to_le_bytes());
    pointer[24..32].copy_from_slice(&0x000f_ffff_0000_0000_u64.to_le_bytes());
    let address = paging::to_physical(VirtAddr::from_ptr(pointer.as_ptr())).as_u64();
    let seal = |table: &mut [u8], at: usize| {
        table[at] = 0;
        table[at] = table.iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte));
    };
    seal(&mut pointer[..36], 8);
    assert!(matches!(topology::read(Some(address)), Err(TopologyError::BadLength(0x000f_ffff_0000_0000))));
    // Addresses of more bits than there can be, though the rest leads to something: of the pointer, of its table, and of the
    // only table that this one knows.
    const TOO_HIGH: u64 = 1 << 60;
    assert!(matches!(topology::read(Some(TOO_HIGH | address)), Err(TopologyError::Acpi(_))));
    let table = address + 64;
    pointer[64..68].copy_from_slice(b"XSDT");
    pointer[68..72].copy_from_slice(&44_u32.to_le_bytes());
    pointer[100..108].copy_from_slice(&(TOO_HIGH | table).to_le_bytes());
    seal(&mut pointer[64..108], 9);
    for root in [TOO_HIGH | table, table] {
        pointer[24..32].copy_from_slice(&root.to_le_bytes());
        seal(&mut pointer[..36], 8);
        match topology::read(Some(address)) {
            Err(TopologyError::BadLength(other)) => assert_eq!(other, TOO_HIGH | table),
            Err(TopologyError::Acpi(_)) => assert_eq!(root, table),
            other => panic!("{other:?} with the table at {root:#x}"),
        }
    }
    pointer[20..24].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    seal(&mut pointer[..36], 8);
    assert!(matches!(topology::read(Some(address)), Err(TopologyError::BadLength(other)) if other == address));
}
