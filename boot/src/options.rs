//! How the host program is told what to do: by options or by variables, refused in the words of whoever gave them.
//!
//! Each option of a machine can also come from a variable: `MEM=6G` to make, which is `BIFOLIO_MEM=6G` in the environment of
//! everything else, is `--mem 6G`. What is wrong with a value is said of the name that was used.

use anyhow::{Context, Result, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, ArgMatches, Args, Command};
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;
use std::{env, error};

/// What every variable's name begins with in the environment; make's begin with what follows.
pub const PREFIX: &str = "BIFOLIO_";

/// What QEMU is told beyond the machine.
#[derive(Args, Clone, Debug, Default)]
pub struct Emulator {
    /// Further arguments for QEMU, quoted as for a shell
    #[arg(long, env = "BIFOLIO_QEMU_ARGS", value_name = "ARGUMENTS", value_parser = words, default_value = "",
          hide_default_value = true, allow_hyphen_values = true)]
    pub qemu_args: Words,
}

/// Words of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

/// Whether a debugger is going to look at the machine.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Debugging {
    /// Wait for gdb before the first instruction, at a port that is free; no time limit holds then
    #[arg(long, env = "BIFOLIO_GDB", value_parser = switch, action = ArgAction::SetTrue)]
    gdb: bool,

    /// Wait for gdb at this port
    #[arg(long, env = "BIFOLIO_GDB_PORT", value_name = "PORT", value_parser = port)]
    gdb_port: Option<u16>,
}

impl Debugging {
    /// Where gdb will find the machine, if one is to be waited for. Nobody else can take the place meanwhile.
    ///
    /// # Errors
    /// The port is somebody else's already.
    pub fn listen(self) -> Result<Option<TcpListener>> {
        if !self.gdb && self.gdb_port.is_none() {
            return Ok(None);
        }
        let port = self.gdb_port.unwrap_or(0);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        listener.map(Some).with_context(|| format!("{}={port}: it cannot be had", spelling("gdb-port")))
    }
}

/// A whole number of seconds, as of a time limit.
///
/// # Errors
/// It is none, or 0.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match number(text) {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number of seconds, at least 1".into()),
    }
}

/// A number of CPUs.
///
/// # Errors
/// It is none that a machine can have.
pub fn processors(text: &str) -> Result<u32, String> {
    match number(text) {
        Some(count @ 1..=64) => Ok(count as u32),
        _ => Err("must be a number of CPUs from 1 to 64".into()),
    }
}

/// What is on or off.
///
/// # Errors
/// It is neither.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        // A variable that is empty is one that is not set, as in make; the words are clap's own.
        "" | "0" | "false" => Ok(false),
        "1" | "true" => Ok(true),
        _ => Err("must be 1 or 0".into()),
    }
}

fn port(text: &str) -> Result<u16, String> {
    number(text)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|&port| port != 0)
        .ok_or_else(|| "must be a port, 1 to 65535".into())
}

fn words(text: &str) -> Result<Words, String> {
    shlex::split(text).map(Words).ok_or_else(|| "a quote is not closed, or a backslash has nothing to quote".into())
}

/// A number of digits alone: `parse` would take a sign as well.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The name by which an option was given: its own, or its variable's.
#[must_use]
pub fn spelling(option: &str) -> String {
    spelled(option, &env::args_os().collect::<Vec<_>>(), env::var_os("MAKELEVEL").is_some(), |name| {
        env::var_os(name).is_some()
    })
}

fn spelled(option: &str, arguments: &[OsString], by_make: bool, is_set: impl Fn(&str) -> bool) -> String {
    let option = format!("--{option}");
    let is_option = |argument: &OsString| argument.to_string_lossy().split('=').next() == Some(&option);
    let name = option[2..].to_uppercase().replace('-', "_");
    let variable = format!("{PREFIX}{name}");
    if arguments.iter().any(is_option) || !(by_make || is_set(&variable)) {
        option
    } else if by_make {
        name
    } else {
        variable
    }
}

/// What is wrong with a value that came from a variable, if that is what is wrong.
#[must_use]
pub fn refusal(error: &clap::Error, spelling: impl Fn(&str) -> String) -> Option<String> {
    let (Some(ContextValue::String(argument)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    let name = spelling(argument.split_whitespace().next()?.trim_start_matches("--"));
    let reason = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => format!("must be {}", one_of(values)),
        _ => error::Error::source(error)?.to_string(),
    };
    let is_variable =
        !name.starts_with('-') && matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation);
    is_variable.then(|| format!("{name}={value}: {reason}"))
}

fn one_of(values: &[String]) -> String {
    match values {
        [but_last @ .., last] if !but_last.is_empty() => format!("{} or {last}", but_last.join(", ")),
        values => values.concat(),
    }
}

/// Reads the options, or ends the program as they ask for or with what is wrong with them.
#[must_use]
pub fn parse(command: Command) -> ArgMatches {
    command.try_get_matches().unwrap_or_else(|error| match refusal(&error, spelling) {
        Some(refusal) => {
            eprintln!("error: {refusal}");
            std::process::exit(USAGE)
        }
        None => error.exit(),
    })
}

/// The status that `clap` ends a program with whose options are wrong.
const USAGE: i32 = 2;

/// Refuses a window where nothing could show it: QEMU would wait for a display, or end without saying which.
///
/// # Errors
/// There is no display.
pub fn check_display() -> Result<()> {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        let name = spelling("display-window");
        bail!("{name}=1: there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Options {
        #[command(flatten)]
        machine: crate::machine::Machine,
        #[command(flatten)]
        emulator: Emulator,
        #[command(flatten)]
        debugging: Debugging,
        #[arg(long, value_parser = seconds)]
        timeout: Option<Duration>,
    }

    /// What is said of `--option=value` if it was given as a variable to make.
    fn refused(option: &str, value: &str) -> String {
        let error = Options::try_parse_from(["boot", &format!("--{option}={value}")]).unwrap_err();
        refusal(&error, |option| option.to_uppercase().replace('-', "_")).unwrap_or_else(|| panic!("{error}"))
    }

    #[test]
    fn each_bad_value_is_refused_by_its_name_and_with_the_reason() {
        for (option, values, refusal) in [
            (
                "mem",
                &["", "512", "-1M", "1.5G"][..],
                "must be a whole number with a unit, K, M, G or T, such as 512M or 6G",
            ),
            ("mem", &["25000K"], "must be whole MiB"),
            ("mem", &["5T", "99999999999999999999G"], "too much; 4T is the most"),
            ("smp", &["", "0", "65", "-1", "+4", "four", "4294967297"], "must be a number of CPUs from 1 to 64"),
            ("firmware", &["", "efi", "BIOS"], "must be bios or uefi"),
            ("apic", &["", "x1apic"], "must be auto, xapic or x2apic"),
            ("timeout", &["", "0", "1.5", "+3", "-3", "soon"], "must be a whole number of seconds, at least 1"),
            ("gdb-port", &["", "0", "65536", "x"], "must be a port, 1 to 65535"),
            ("qemu-args", &["-d 'int", "\"", "\\"], "a quote is not closed, or a backslash has nothing to quote"),
        ] {
            for value in values {
                let name = option.to_uppercase().replace('-', "_");
                assert_eq!(refused(option, value), format!("{name}={value}: {refusal}"));
            }
        }
    }

    #[test]
    fn what_is_wrong_with_the_options_themselves_is_claps_to_say() {
        for arguments in [&["boot", "--no-such-option"][..], &["boot", "--mem"], &["boot", "--help"]] {
            let error = Options::try_parse_from(arguments).unwrap_err();
            assert_eq!(refusal(&error, str::to_owned), None, "{error}");
        }
        let error = Options::try_parse_from(["boot", "--mem=1"]).unwrap_err();
        assert_eq!(refusal(&error, |option| format!("--{option}")), None, "{error}");
    }

    #[test]
    fn switches_are_on_or_off() {
        assert_eq!(["", "0", "1"].map(switch), [Ok(false), Ok(false), Ok(true)]);
        for text in ["2", "yes", "on", " 1"] {
            assert_eq!(switch(text), Err("must be 1 or 0".into()));
        }
    }

    #[test]
    fn a_value_is_named_as_it_was_given() {
        let none = |_: &str| false;
        let set = |name: &str| name == "BIFOLIO_GDB_PORT";
        let arguments = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(spelled("gdb-port", &arguments("boot run"), true, set), "GDB_PORT");
        assert_eq!(spelled("gdb-port", &arguments("boot run"), false, set), "BIFOLIO_GDB_PORT");
        assert_eq!(spelled("gdb-port", &arguments("boot run --gdb"), false, none), "--gdb-port");
        for given in ["boot run --gdb-port 5", "boot run --gdb-port=5"] {
            assert_eq!(spelled("gdb-port", &arguments(given), true, set), "--gdb-port");
        }
    }

    #[test]
    fn arguments_for_qemu_are_quoted_as_for_a_shell() {
        let words = |text| words(text).unwrap().0;
        assert_eq!(words("-d 'int, cpu' -name \"a b\"\\ c"), ["-d", "int, cpu", "-name", "a b c"]);
        assert!(words("  ").is_empty());
        let options = Options::try_parse_from(["boot", "--qemu-args", "-s"]).unwrap();
        assert_eq!(options.emulator.qemu_args.0, ["-s"]);
    }

    #[test]
    fn gdb_gets_a_port_of_its_own_or_the_one_that_was_asked_for() {
        let wait = |gdb, gdb_port| Debugging { gdb, gdb_port }.listen();
        assert!(wait(false, None).unwrap().is_none());
        let ports = [(); 2].map(|()| wait(true, None).unwrap().unwrap());
        let [one, other] = ports.each_ref().map(|port| port.local_addr().unwrap().port());
        assert_ne!(one, other);
        let refusal = wait(false, Some(one)).unwrap_err().to_string();
        assert!(refusal.contains(&format!("={one}: it cannot be had")), "{refusal}");
        drop(ports);
        assert_eq!(wait(false, Some(one)).unwrap().unwrap().local_addr().unwrap().port(), one);
    }
}
