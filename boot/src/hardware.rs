//! What a machine is made of beyond what its kernel is told: board, processor, where its memory lies.

use crate::machine::{Apic, Machine, Memory};
use std::fmt;

/// The board, as QEMU names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// Of 1996, with the memory of today.
    Pc,
    /// Of 2007: the one that boots fastest, and whose memory can lie where big machines have it.
    Q35,
}

/// Where memory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As QEMU has it: what does not fit below 4 GiB lies above.
    Usual,
    /// Below 4 GiB only the first GiB.
    LowGigabyte,
    /// In two nodes, half of it each.
    Numa,
    /// With room for a GiB that can be plugged in.
    Hotplug,
}

/// What a machine is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Its board.
    pub board: Board,
    /// Its processors' model, as QEMU names it.
    pub processor: &'static str,
    /// Where its memory lies.
    pub layout: Layout,
}

impl Hardware {
    /// The board that boots fastest, and processors that have all that QEMU emulates.
    pub const USUAL: Hardware = Hardware { board: Board::Q35, processor: "max", layout: Layout::Usual };

    /// QEMU's arguments for it, with what the machine has of it.
    pub(crate) fn arguments(self, machine: Machine) -> Vec<String> {
        let Machine { memory, processors, apic, .. } = machine;
        let mib = memory.bytes() >> 20;
        let nodes = if self.layout == Layout::Numa { vec![mib / 2, mib - mib / 2] } else { vec![mib] };
        let board = match self.layout {
            Layout::Numa => self.board.to_string(),
            Layout::LowGigabyte => format!("{},memory-backend=ram0,max-ram-below-4g=1G", self.board),
            Layout::Usual | Layout::Hotplug => format!("{},memory-backend=ram0", self.board),
        };
        let mut arguments = vec!["-machine".to_owned(), board];
        for (node, mib) in nodes.into_iter().enumerate() {
            // Without a reservation a machine may have more memory than the host: what the guest never touches costs nothing.
            let memory = format!("memory-backend-ram,id=ram{node},size={mib}M,reserve=off");
            arguments.extend(["-object".to_owned(), memory]);
            if self.layout == Layout::Numa {
                arguments.extend(["-numa".to_owned(), format!("node,nodeid={node},memdev=ram{node}")]);
            }
        }
        let room =
            if self.layout == Layout::Hotplug { format!(",slots=2,maxmem={}M", mib + 1024) } else { String::new() };
        let x2apic = match apic {
            Apic::Auto => "",
            Apic::XApic => ",-x2apic",
            Apic::X2Apic => ",+x2apic",
        };
        let processor = format!("{},phys-bits={}{x2apic}", self.processor, address_bits(memory));
        let rest = [("-m", format!("{mib}M{room}")), ("-smp", processors.to_string()), ("-cpu", processor)];
        arguments.extend(rest.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
        arguments
    }
}

/// How many bits the machine's physical addresses have. UEFI firmware maps all that they can name, page by page, before
/// it does anything else: with 46 bits that takes it minutes, so there are no more than the memory needs.
fn address_bits(memory: Memory) -> u32 {
    // With 40 bits, memory ends below the 12 GiB at the top of the first TiB that AMD reserves; beyond, it is moved up
    // by a TiB.
    if memory.bytes() <= 1000 << 30 { 40 } else { 43 }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Board::Pc => "pc",
            Board::Q35 => "q35",
        })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Layout::Usual => "usual",
            Layout::LowGigabyte => "1 GiB low",
            Layout::Numa => "NUMA",
            Layout::Hotplug => "hot-plug",
        })
    }
}
