//! The kernel's ELF file becomes a disk image that BIOS or UEFI boots.
//!
//! The image carries the ELF without symbols and debug information: BIOS reads it through real-mode calls, so every
//! megabyte that nobody needs in there costs boot time. The `object` crate removes them, not `objcopy`: the crate is
//! needed for reading ELF files anyway, and a program that has to be found in a toolchain is one more thing to be
//! missing. The ELF itself stays as it is, for gdb and for backtraces.

use crate::machine::Firmware;
use anyhow::{Context, Result, anyhow, ensure};
use bootloader::DiskImageBuilder;
use object::build::elf::Builder;
use object::elf;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Makes the image of `kernel` for `firmware` at `out`, replacing what is there in one step.
///
/// # Errors
/// The ELF cannot be read or is not one, the image cannot be written, or `out` is something else than a file, such as a
/// device; what was at `out` is still there then.
pub fn make(kernel: &Path, firmware: Firmware, out: &Path) -> Result<()> {
    let is_other = fs::metadata(out).is_ok_and(|metadata| !metadata.is_file());
    ensure!(!is_other, "{} is there and is no regular file: it is left alone", out.display());
    write_image(&stripped(kernel)?, firmware, out)
}

/// The image of `kernel` for `firmware`, beside the ELF, made only if it is not there yet for this very content.
///
/// What the image was made of stays beside it, and is what the content is compared with.
///
/// # Errors
/// As [`make`].
pub fn cached(kernel: &Path, firmware: Firmware) -> Result<PathBuf> {
    let content = stripped(kernel)?;
    let image = beside(kernel, &format!(".{firmware}.img"));
    let made_of = beside(kernel, &format!(".{firmware}.stripped"));
    if is_current(&image, &made_of, &content) {
        return Ok(image);
    }
    // Never an image that seems to be of another content: the record goes first and comes back last.
    match fs::remove_file(&made_of) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", made_of.display()));
        }
        _ => {}
    }
    write_image(&content, firmware, &image)?;
    replace(&made_of, |file| fs::write(file, &content).map_err(Into::into))?;
    Ok(image)
}

/// Whether `image` was made of `content`, by this version of this program or an earlier one with the same boot loader.
fn is_current(image: &Path, made_of: &Path, content: &[u8]) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let ourselves = std::env::current_exe().and_then(|program| modified(&program));
    let newer_than_us = matches!((modified(image), ourselves), (Ok(image), Ok(program)) if image >= program);
    newer_than_us && fs::read(made_of).is_ok_and(|bytes| bytes == content)
}

fn beside(kernel: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(kernel);
    name.push(suffix);
    name.into()
}

fn write_image(content: &[u8], firmware: Firmware, out: &Path) -> Result<()> {
    let mut builder = DiskImageBuilder::empty();
    builder.set_file_contents("kernel-x86_64".into(), content.to_vec());
    replace(out, |file| match firmware {
        Firmware::Bios => builder.create_bios_image(file),
        Firmware::Uefi => builder.create_uefi_image(file),
    })
}

/// Writes a file beside `path` and then moves it there, so that a machine that boots from `path` right now keeps its
/// disk and nobody ever sees half a file.
fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let attempt = || {
        let file = NamedTempFile::new_in(directory)?.into_temp_path();
        write(&file)?;
        file.persist(path)?;
        Ok(())
    };
    attempt().map_err(|error: anyhow::Error| {
        let cause = format!("cannot write {}", path.display());
        match error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => anyhow!(
                "{cause}: no space left there or in {}. An image takes a few MiB in each",
                std::env::temp_dir().display()
            ),
            _ => error.context(cause),
        }
    })
}

/// The bytes of `kernel` without symbols and sections that are not loaded.
fn stripped(kernel: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(kernel).with_context(|| format!("cannot read the kernel {}", kernel.display()))?;
    strip(&bytes).with_context(|| format!("{} is not a kernel that can boot", kernel.display()))
}

fn strip(bytes: &[u8]) -> Result<Vec<u8>> {
    ensure!(bytes.starts_with(&elf::ELFMAG), "it is not an ELF file");
    let mut builder = Builder::read(bytes).context("its ELF structure is damaged")?;
    let header = &builder.header;
    ensure!(builder.is_64 && header.e_machine == elf::EM_X86_64, "it is an ELF file for another kind of machine");
    ensure!(
        builder.sections.iter().any(|section| section.name.as_slice() == b".bootloader-config"),
        "it has no entry point for the boot loader (bootloader_api's entry_point! makes one)"
    );
    for section in &mut builder.sections {
        let is_loaded = section.is_alloc();
        let holds_names = matches!(section.data, object::build::elf::SectionData::SectionString);
        section.delete = !is_loaded && !holds_names;
    }
    for symbol in &mut builder.symbols {
        symbol.delete = true;
    }
    builder.delete_orphans();
    builder.delete_unused_versions();
    builder.set_section_sizes();
    let mut out = Vec::new();
    builder.write(&mut out).context("its sections cannot be written back")?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_refused_with_the_reason() {
        let reason = |bytes: &[u8]| format!("{:#}", strip(bytes).unwrap_err());
        assert!(reason(b"").contains("not an ELF file"));
        assert!(reason(b"\x7fELF and then nonsense").contains("damaged"));
        let ourselves = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(reason(&ourselves).contains("no entry point for the boot loader"));
        assert!(reason(&ourselves[..ourselves.len() / 2]).contains("damaged"));
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = make(Path::new("kernel"), Firmware::Bios, &path).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
        assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        replace(&path, |file| Ok(fs::write(file, "old")?)).unwrap();
        let half = replace(&path, |file| {
            fs::write(file, "ne")?;
            Err(io::Error::from(io::ErrorKind::StorageFull).into())
        });
        assert!(half.unwrap_err().to_string().contains("no space left"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
    }
}
