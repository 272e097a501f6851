//! The machine that is wanted: memory, processors, firmware.
//!
//! The limits are what QEMU, the firmware and the boot loader were measured to boot with; a value outside them would
//! otherwise end as a machine that never says a word.

use crate::options::{self, spelling};
use clap::{ArgAction, Args, ValueEnum};
use std::fmt;
use std::str::FromStr;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// A machine, as it can be given on a command line or in the environment.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory: a whole number with a unit, K, M, G or T
    #[arg(long = "mem", env = "BIFOLIO_MEM", value_name = "SIZE", default_value = "512M")]
    pub memory: Memory,

    /// Number of CPUs
    #[arg(long = "smp", env = "BIFOLIO_SMP", value_name = "N", default_value = "1",
          value_parser = options::processors)]
    pub processors: u32,

    /// Let the CPUs run at the same time, each on a thread of this host: instructions are not counted then, and no two runs
    /// are the same
    #[arg(long, env = "BIFOLIO_PARALLEL", value_parser = options::switch, action = ArgAction::SetTrue)]
    pub parallel: bool,

    /// What the machine boots with
    #[arg(long, env = "BIFOLIO_FIRMWARE", default_value = "bios")]
    pub firmware: Firmware,

    /// How its CPUs reach their local APICs
    #[arg(long, env = "BIFOLIO_APIC", default_value = "auto")]
    pub apic: Apic,
}

impl Machine {
    /// One whose CPUs take turns, so that instructions are counted.
    #[must_use]
    pub const fn new(firmware: Firmware, memory: Memory, processors: u32) -> Machine {
        Machine { memory, processors, parallel: false, firmware, apic: Apic::Auto }
    }

    /// Refuses a machine that cannot boot whatever the kernel does.
    ///
    /// # Errors
    /// Less memory than this firmware and the boot loader themselves take.
    pub fn check(&self) -> anyhow::Result<()> {
        let least = self.firmware.least_memory();
        if self.memory < least {
            let (memory, firmware) = (spelling("mem"), spelling("firmware"));
            anyhow::bail!(
                "{memory}={}: too little to boot; {least} is the least with {firmware}={}",
                self.memory,
                self.firmware
            );
        }
        Ok(())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpus = if self.processors == 1 { "CPU" } else { "CPUs" };
        write!(f, "{}, {}, {} {cpus}", self.firmware, self.memory, self.processors)?;
        f.write_str(if self.parallel { " in parallel" } else { "" })?;
        match self.apic {
            Apic::Auto => Ok(()),
            apic => write!(f, ", {apic}"),
        }
    }
}

/// How CPUs reach their local APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Apic {
    /// As QEMU's fullest CPU has it: x2APIC since version 9.0.
    Auto,
    /// Through memory, since there is no other way.
    #[value(name = "xapic")]
    XApic,
    /// Through model-specific registers.
    #[value(name = "x2apic")]
    X2Apic,
}

impl fmt::Display for Apic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Apic::Auto => "auto",
            Apic::XApic => "xapic",
            Apic::X2Apic => "x2apic",
        })
    }
}

/// What a machine boots with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Firmware {
    /// SeaBIOS, which QEMU brings along.
    Bios,
    /// OVMF, see [`crate::firmware`].
    Uefi,
}

impl Firmware {
    /// The least memory that gets as far as a kernel's first line.
    #[must_use]
    pub const fn least_memory(self) -> Memory {
        match self {
            Firmware::Bios => Memory(20 * MIB),
            Firmware::Uefi => Memory(44 * MIB),
        }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        })
    }
}

/// An amount of memory in bytes: whole MiB, at most 4 TiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(u64);

impl Memory {
    /// So many MiB.
    ///
    /// # Panics
    /// Over 4 TiB.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Memory {
        assert!(mib <= 4 * TIB / MIB);
        Memory(mib * MIB)
    }

    /// The amount in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Memory, String> {
        let wrong = || "must be a whole number with a unit, K, M, G or T, such as 512M or 6G".to_string();
        let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
        let shift = match unit {
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            "T" | "t" => 40,
            _ => return Err(wrong()),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let too_much = || "too much; 4T is the most".to_string();
        let number: u64 = digits.parse().map_err(|_| too_much())?;
        let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes <= 4 * TIB).ok_or_else(too_much)?;
        if bytes % MIB != 0 {
            return Err("must be whole MiB".into());
        }
        Ok(Memory(bytes))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0 / MIB;
        match mib {
            0 => f.write_str("0M"),
            _ if mib.is_multiple_of(1 << 20) => write!(f, "{}T", mib >> 20),
            _ if mib.is_multiple_of(1 << 10) => write!(f, "{}G", mib >> 10),
            _ => write!(f, "{mib}M"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_reads_as_it_prints() {
        for (text, mib, shown) in [
            ("512M", 512, "512M"),
            ("6G", 6144, "6G"),
            ("4T", 4 << 20, "4T"),
            ("65536K", 64, "64M"),
            ("1024m", 1024, "1G"),
        ] {
            let memory: Memory = text.parse().unwrap();
            assert_eq!((memory, memory.to_string().as_str()), (Memory::from_mib(mib), shown));
        }
    }

    #[test]
    fn bad_memory_is_refused_with_the_reason() {
        for text in ["", "M", "512", "1.5G", "-1M", "+1M", "0x10M", "5 M", "512MB", "ß", "Gß"] {
            assert!(text.parse::<Memory>().unwrap_err().contains("whole number with a unit"), "{text:?}");
        }
        for text in ["5T", "4194305M", "18446744073709551615T", "99999999999999999999M"] {
            assert!(text.parse::<Memory>().unwrap_err().contains("4T"), "{text:?}");
        }
        assert!("1K".parse::<Memory>().unwrap_err().contains("whole MiB"));
    }

    #[test]
    fn a_machine_shows_what_is_not_usual_of_it() {
        let machine = Machine::new(Firmware::Bios, Memory::from_mib(512), 1);
        assert_eq!(machine.to_string(), "bios, 512M, 1 CPU");
        let machine = Machine { processors: 4, parallel: true, apic: Apic::X2Apic, ..machine };
        assert_eq!(machine.to_string(), "bios, 512M, 4 CPUs in parallel, x2apic");
    }

    #[test]
    fn choices_are_named_as_they_print() {
        fn all<T: ValueEnum + fmt::Display>() {
            for choice in T::value_variants() {
                assert_eq!(choice.to_possible_value().unwrap().get_name(), choice.to_string());
            }
        }
        all::<Firmware>();
        all::<Apic>();
    }

    #[test]
    fn each_firmware_has_its_least_memory() {
        let machine = |mib, firmware| Machine::new(firmware, Memory::from_mib(mib), 1);
        assert!(machine(20, Firmware::Bios).check().is_ok() && machine(44, Firmware::Uefi).check().is_ok());
        assert!(machine(19, Firmware::Bios).check().unwrap_err().to_string().contains("20M"));
        assert!(machine(43, Firmware::Uefi).check().unwrap_err().to_string().contains("44M"));
    }
}
