//! Kernels that are nobody's but an adopter's: each boots, has its memory from the crate and finds it as it should be.

use boot::firmware::Ovmf;
use boot::machine::{Firmware, Machine, Memory};
use boot::qemu::Setup;
use boot::run::{self, Limits, Watcher};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Keeps what a kernel prints.
struct Text(Vec<u8>);

impl Watcher for Text {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, _: &boot::events::Report) {}
}

/// Builds a kernel of `tests/adopters` with these arguments of cargo's.
fn build(name: &str, arguments: &[&str]) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "-p", name.trim_end_matches(".efi"), "--message-format=json-render-diagnostics"])
        .args(arguments)
        .current_dir(ROOT);
    let output = cargo.stderr(io::stderr()).output().unwrap();
    assert!(output.status.success(), "{name} does not build");
    let programs = boot::suite::executables(&String::from_utf8_lossy(&output.stdout), "bin");
    programs.into_iter().find(|path| path.ends_with(name)).expect("the kernel was built")
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What every kernel prints at last.
const DONE: &str = "frames were given out and are whole again";

#[test]
fn a_kernel_that_bootloader_boots_has_its_memory_from_the_crate() {
    let kernel = build("adopter-bootloader", &["--target", "x86_64-unknown-none"]);
    let machine = Machine::new(Firmware::Bios, Memory::from_mib(128), 1);
    let mut text = Text(Vec::new());
    let limits = Limits::at_work(Limits::QUIET);
    let outcome = run::run(&Setup::new(&kernel, machine), limits, None, &mut text).unwrap();
    assert!(outcome.is_success(), "{}\n{}", outcome.explain(), String::from_utf8_lossy(&text.0));
}

/// Runs an emulator with these arguments, which ends with this exit status if all is well.
fn boots(emulator: &str, status: i32) {
    boots_and_says(emulator, status, DONE);
}

/// [`boots`] a kernel that says this at last.
fn boots_and_says(emulator: &str, status: i32, last: &str) {
    // A kernel that hangs computes: what ends it is the time that the emulator has computed, however busy the machine is.
    let limited = format!("ulimit -t 600; exec {emulator} -nic none -display none -monitor none -serial stdio");
    let output = Command::new("sh").args(["-c", &limited]).current_dir(ROOT).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let is_well = output.status.code() == Some(status) && text.contains(last);
    assert!(is_well, "{emulator}: {}\n{text}\n{complaints}", output.status);
}

/// How cargo builds for a processor that Rust's library need not be there for.
fn with_core(target: &str) -> [&str; 5] {
    ["-Zbuild-std=core,alloc", "--target-dir", "target/elsewhere", "--target", target]
}

#[test]
#[ignore = "`make adopters` has the emulator"]
fn a_kernel_for_riscv64_has_its_memory_as_a_device_tree_says() {
    let kernel = build("adopter-device-tree", &with_core("riscv64gc-unknown-none-elf"));
    for memory in ["32M", "1G", "9G"] {
        boots(&format!("qemu-system-riscv64 -machine virt -m {memory} -kernel '{}'", kernel.display()), 0);
    }
}

#[test]
#[ignore = "`make adopters` has the emulator"]
fn a_kernel_for_aarch64_has_its_memory_as_a_device_tree_says() {
    let kernel = build("adopter-device-tree", &with_core("aarch64-unknown-none"));
    let machine = "qemu-system-aarch64 -machine virt -cpu cortex-a72 -semihosting";
    for memory in ["32M", "1G", "9G"] {
        boots(&format!("{machine} -m {memory} -kernel '{}'", kernel.display()), 0);
    }
}

/// What a kernel for several CPUs prints at last.
const ALL_DONE: &str = "4 CPUs have worked at once and all is whole again";

/// With a barrier from each of four harts to all others, by firmware.
#[test]
#[ignore = "`make adopters` has the emulator"]
fn four_harts_of_riscv64_work_at_once() {
    let kernel = build("adopter-device-tree-smp", &with_core("riscv64gc-unknown-none-elf"));
    let machine = format!("qemu-system-riscv64 -machine virt -smp 4 -m 128M -kernel '{}'", kernel.display());
    boots_and_says(&machine, 0, ALL_DONE);
}

/// With a barrier from each of four CPUs to all others, by an interrupt of the controller's.
#[test]
#[ignore = "`make adopters` has the emulator"]
fn four_cpus_of_aarch64_work_at_once() {
    let kernel = build("adopter-device-tree-smp", &with_core("aarch64-unknown-none"));
    let machine = "qemu-system-aarch64 -machine virt -cpu cortex-a72 -semihosting -smp 4 -m 128M";
    boots_and_says(&format!("{machine} -kernel '{}'", kernel.display()), 0, ALL_DONE);
}

/// With a barrier from each of four CPUs to all others, by an interrupt of the local APIC's.
#[test]
#[ignore = "`make adopters` has the boot loader"]
fn four_cpus_of_x86_64_work_at_once() {
    let kernel = build("adopter-x86_64-smp", &["--target", "x86_64-unknown-none"]);
    let image = for_grub(&kernel, "grub-smp");
    boots_and_says(&format!("{PC} -smp 4 -m 128M -cdrom '{}'", image.display()), PC_SUCCESS, ALL_DONE);
}

/// A PC that a kernel ends by a device: with this exit status, if all is well.
const PC: &str = "qemu-system-x86_64 -device isa-debug-exit,iobase=0xf4,iosize=4";
const PC_SUCCESS: i32 = 0x10 << 1 | 1;

/// An empty directory below `target`.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(ROOT).join("target/adopters").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A disc with GRUB, which boots this kernel.
fn for_grub(kernel: &Path, name: &str) -> PathBuf {
    const MENU: &str = "set timeout=0\nmenuentry kernel { multiboot2 /boot/kernel }\n";
    let (disc, image) = (directory(name), directory(&format!("{name}.iso")).join("image"));
    fs::create_dir_all(disc.join("boot/grub")).unwrap();
    fs::copy(kernel, disc.join("boot/kernel")).unwrap();
    fs::write(disc.join("boot/grub/grub.cfg"), MENU).unwrap();
    let made = Command::new("grub-mkrescue").arg("-o").arg(&image).arg(disc).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    image
}

#[test]
#[ignore = "`make adopters` has the boot loader"]
fn a_kernel_that_grub_boots_has_its_memory_from_the_crate() {
    let kernel = build("adopter-multiboot2", &["--target", "x86_64-unknown-none"]);
    let image = for_grub(&kernel, "grub");
    for memory in ["64M", "1G", "5G"] {
        boots(&format!("{PC} -m {memory} -cdrom '{}'", image.display()), PC_SUCCESS);
    }
}

#[test]
#[ignore = "`make adopters` builds for it"]
fn a_kernel_that_uefi_starts_has_its_memory_from_the_crate() {
    let kernel = build("adopter-uefi.efi", &with_core("x86_64-unknown-uefi"));
    let disk = directory("uefi");
    fs::create_dir_all(disk.join("EFI/BOOT")).unwrap();
    fs::copy(kernel, disk.join("EFI/BOOT/BOOTX64.EFI")).unwrap();
    let Ovmf { code, variables } = Ovmf::find().unwrap();
    let flash = format!(
        "-drive if=pflash,format=raw,readonly=on,file='{}' -drive if=pflash,format=raw,snapshot=on,file='{}'",
        code.display(),
        variables.display(),
    );
    for memory in ["64M", "5G"] {
        boots(&format!("{PC} -m {memory} {flash} -drive format=raw,file=fat:rw:'{}'", disk.display()), PC_SUCCESS);
    }
}
