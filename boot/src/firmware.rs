//! Where this host keeps UEFI firmware for virtual machines (OVMF).
//!
//! Every distribution has its own place for it, and there are two files: the code, which all machines share, and the
//! template of the variables, which each machine writes to its own copy of. BIOS needs nothing: QEMU brings SeaBIOS.

use anyhow::{Context, Result, bail};
use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The two files of an OVMF that QEMU takes as flash drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ovmf {
    /// The firmware itself, read only.
    pub code: PathBuf,
    /// Its variables as they are delivered.
    pub variables: PathBuf,
}

/// Code and variables where distributions put them, those without secure boot, since our boot loader is not signed.
const PLACES: &[(&str, &str)] = &[
    // Debian, Ubuntu; where both are there, the build for 2 MiB of flash boots a fifth faster than that for 4 MiB
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    // Fedora, RHEL
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    // Arch
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    // openSUSE
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    // QEMU's own builds, Homebrew, Nix profiles
    ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
    ("/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"),
    ("/opt/homebrew/share/qemu/edk2-x86_64-code.fd", "/opt/homebrew/share/qemu/edk2-i386-vars.fd"),
];

impl Ovmf {
    /// The OVMF of this host: the one that `OVMF_CODE` and `OVMF_VARS` name, or the first in the usual places.
    ///
    /// # Errors
    /// None is there, or the named one cannot be read. The message says what to install or set.
    pub fn find() -> Result<Ovmf> {
        let named = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match (named("OVMF_CODE"), named("OVMF_VARS")) {
            (None, None) => {}
            (Some(code), Some(variables)) => {
                File::open(&code).with_context(|| format!("OVMF_CODE: cannot read {}", code.display()))?;
                File::open(&variables).with_context(|| format!("OVMF_VARS: cannot read {}", variables.display()))?;
                return Ok(Ovmf { code, variables });
            }
            _ => bail!("OVMF_CODE and OVMF_VARS go together: set both, or neither to search the usual places"),
        }
        Self::search(PLACES).context(
            "UEFI needs the firmware OVMF, and it is in none of the usual places.\n\
             Run `make setup`, or install it yourself (Debian, Ubuntu: the package `ovmf`; Fedora, Arch: `edk2-ovmf`; openSUSE: `qemu-ovmf-x86_64`),\n\
             or set OVMF_CODE and OVMF_VARS to its two files",
        )
    }

    fn search(places: &[(&str, &str)]) -> Option<Ovmf> {
        let readable = |path: &str| File::open(path).is_ok();
        let &(code, variables) = places.iter().find(|(code, variables)| readable(code) && readable(variables))?;
        Some(Ovmf { code: Path::new(code).into(), variables: Path::new(variables).into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_first_complete_pair_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
        for name in ["a-code", "b-code", "b-vars", "c-code", "c-vars"] {
            fs::write(path(name), "").unwrap();
        }
        let pairs = ["a", "b", "c"].map(|name| (path(&format!("{name}-code")), path(&format!("{name}-vars"))));
        let places = pairs.each_ref().map(|(code, variables)| (code.as_str(), variables.as_str()));
        let found = Ovmf::search(&places).unwrap();
        assert!(found.code.ends_with("b-code") && found.variables.ends_with("b-vars"));
        assert_eq!(Ovmf::search(&places[..1]), None);
    }
}
