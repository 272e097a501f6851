//! The host program: from a kernel's ELF file to a machine that runs it, watched until it ends.
//!
//! A kernel cannot be trusted to say how it fares: it may hang, reset the machine or never start. So everything that is
//! known of a run is pieced together out here, from what the guest says ([`events`]), from what it prints ([`console`])
//! and from what QEMU tells about it ([`qmp`]), and becomes one [`run::Outcome`].
//!
//! | module | its part |
//! |---|---|
//! | [`options`] | what the user asks for, and why it cannot be |
//! | [`machine`], [`hardware`], [`firmware`] | what machine is wanted, and whether it can be had here |
//! | [`matrix`] | machines of every kind, for `make matrix` |
//! | [`image`] | the kernel's ELF file becomes a disk that BIOS or UEFI boots |
//! | [`qemu`], [`qmp`] | the emulator: its command line, its process, its control socket |
//! | [`run`] | one machine from power-on to its end, and the [`run::Ending`] it came to |
//! | [`look`], [`threads`] | how far a machine is, and whether this host keeps it from going on |
//! | [`patience`] | when nothing more is to be expected of a machine |
//! | [`events`], [`console`], [`symbols`] | reading what the guest sends, and addresses as functions and lines |
//! | [`debugger`] | how gdb gets to a machine |
//! | [`terminal`] | the user's keys and signals while a machine runs |
//! | [`harness`], [`report`] | a test kernel's tests, one machine after another, shown as `cargo test` shows them |
//! | [`measure`] | what a booted benchmark measures, as lines for whoever shows it |
//! | [`sites`] | where in a kernel the operations of a trace were asked for, in words |
//! | [`soak`] | one machine after another at work for as long as is wanted, for `make soak-kernel` |
//! | [`replay`], [`minimise`] | what a trace says, done again and compared; and made short if it fails |
//! | [`explorer`], [`browser`], [`pictures`] | the page that shows it, what shows that page, and pictures of it |
//! | [`lessons`] | the lessons, as that page has them |
//! | [`scrub`] | how fast that page is |
//! | [`attached`] | that page, served while a machine runs, with what happens there |
//! | [`suite`] | everything that `make test` runs |

pub mod attached;
pub mod browser;
pub mod console;
pub mod debugger;
pub mod events;
pub mod explorer;
pub mod firmware;
pub mod hardware;
pub mod harness;
pub mod image;
pub mod lessons;
pub mod look;
pub mod machine;
pub mod matrix;
pub mod measure;
pub mod minimise;
pub mod options;
pub mod patience;
pub mod pictures;
mod processor;
pub mod qemu;
pub mod qmp;
pub mod replay;
pub mod report;
pub mod run;
pub mod scrub;
pub mod sites;
pub mod soak;
pub mod suite;
pub mod symbols;
pub mod terminal;
pub mod threads;
