//! Tests that run in a booted kernel.
//!
//! Memory management is about the machine it runs on: the map its firmware gives, the page tables it walks, the
//! exceptions it raises. So each file of booted tests is a kernel of its own, and all the harness it has is this crate:
//! it boots, runs the tests that the host program selects, and reports each over COM2.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! #![feature(custom_test_frameworks)]
//! #![test_runner(framework::run)]
//! #![reexport_test_harness_main = "test_main"]
//!
//! framework::entry!(test_main);
//!
//! #[test_case]
//! fn one_and_one() {
//!     assert_eq!(1 + 1, 2);
//! }
//! ```
//!
//! A test passes if it returns `()` or `Ok`. One that returns `Err` has failed, and the next runs. One that panics, hangs
//! or resets the machine takes its kernel with it: the host program says which, and boots again with the next test. That
//! is why a panic needs no unwinding here, and why a test can break anything it likes.
//!
//! A test that [boots with a map of its own](boots_with!) has a boot to itself: the kernel ends before it and after it.
#![no_std]
// The bound of a test on "callable, and returns something that can be judged" has no stable spelling.
#![feature(unboxed_closures)]

use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegion;
use core::any::type_name;
use core::fmt::Display;
use core::mem;
use core::ops::Deref;
use kernel::host::{self, Input, Stopwatch};
use kernel::machine::Machine;
use kernel::memory::{frames, heap};
use kernel::sync::{Mutex, lockdep};
use kernel::{console, cpu, memory, println};
use log::LevelFilter;
use protocol::{Event, ExitCode, Selection, TestResult, input};

#[doc(hidden)]
pub use bootloader_api;
#[doc(hidden)]
pub use kernel;

/// Makes the file a kernel that runs the tests in it. The argument is the name that the file gives to
/// `reexport_test_harness_main`.
#[macro_export]
macro_rules! entry {
    ($test_main:ident) => {
        fn boot(boot_info: &'static mut $crate::bootloader_api::BootInfo) -> ! {
            $crate::start(boot_info);
            $test_main();
            unreachable!("the test runner ends the machine")
        }
        $crate::bootloader_api::entry_point!(boot, config = &$crate::kernel::BOOTLOADER_CONFIG);
    };
}

/// A test that passes exactly if it panics. It is written like a function, in place of one with `#[test_case]`:
///
/// ```ignore
/// framework::should_panic! {
///     fn index_out_of_bounds() {
///         let empty: &[u8] = core::hint::black_box(&[]);
///         let _ = empty[0];
///     }
/// }
/// ```
#[macro_export]
macro_rules! should_panic {
    ($(#[$attribute:meta])* fn $name:ident() $body:block) => {
        $(#[$attribute])*
        #[test_case]
        #[allow(non_upper_case_globals, reason = "named like the function that it stands for")]
        const $name: $crate::Special = $crate::Special {
            name: concat!(module_path!(), "::", stringify!($name)),
            map: None,
            should_panic: true,
            run: || $body,
        };
    };
}

/// A test that boots with another memory map than the boot loader's. `$map` is an [`EditMap`]: it is given the loader's
/// entries, and returns those that the kernel is to see. The boot is part of the test, whose body runs after it; with
/// `should_panic` in front, the test passes exactly if the boot or the body panics.
///
/// ```ignore
/// framework::boots_with! { lies_about_its_end, fn the_kernel_knows_better() {
///     assert_eq!(map().faults().count(), 1);
/// } }
/// ```
#[macro_export]
macro_rules! boots_with {
    ($map:expr, $(#[$attribute:meta])* fn $name:ident() $body:block) => {
        $crate::boots_with!(@ false, $map, $(#[$attribute])* fn $name() $body);
    };
    (should_panic, $map:expr, $(#[$attribute:meta])* fn $name:ident() $body:block) => {
        $crate::boots_with!(@ true, $map, $(#[$attribute])* fn $name() $body);
    };
    (@ $should_panic:literal, $map:expr, $(#[$attribute:meta])* fn $name:ident() $body:block) => {
        $(#[$attribute])*
        #[test_case]
        #[allow(non_upper_case_globals, reason = "named like the function that it stands for")]
        const $name: $crate::Special = $crate::Special {
            name: concat!(module_path!(), "::", stringify!($name)),
            map: Some($map),
            should_panic: $should_panic,
            run: || $body,
        };
    };
}

/// Makes the boot loader's memory map another one.
pub type EditMap = fn(&'static mut [MemoryRegion]) -> &'static mut [MemoryRegion];

/// What the boot loader said, until memory is set up.
static BOOT_INFO: Mutex<Option<&'static mut BootInfo>> = Mutex::new("boot information", None);

/// The kernel's own boot, as `main.rs` has it, up to memory, but for the log's small talk.
#[doc(hidden)]
pub fn start(boot_info: &'static mut BootInfo) {
    cpu::init();
    console::init();
    log::set_max_level(LevelFilter::Warn);
    host::init();
    *BOOT_INFO.lock() = Some(boot_info);
}

fn is_set_up() -> bool {
    BOOT_INFO.lock().is_none()
}

/// The rest of it, but for the shell. Only once.
fn set_up(map: Option<EditMap>) {
    let boot_info = BOOT_INFO.lock().take().expect("memory is set up once");
    if let Some(edit) = map {
        let nothing = (&mut [][..]).into();
        boot_info.memory_regions = edit(mem::replace(&mut boot_info.memory_regions, nothing).into()).into();
    }
    memory::init(boot_info);
    cpu::start_all();
    host::send(&Event::Ready);
}

/// The state of all page frames: what a test leaves behind is a difference between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot(stress::Snapshot);

impl Snapshot {
    /// The state as it is now, behind what only caches hold.
    pub fn take() -> Self {
        Self(stress::Snapshot::take::<Machine>())
    }
}

impl Deref for Snapshot {
    type Target = stress::Snapshot;

    fn deref(&self) -> &stress::Snapshot {
        &self.0
    }
}

/// A test, as the runner sees it.
pub trait Test {
    /// The test's path: the binary's name and the modules inside it.
    fn path(&self) -> &'static str;
    /// Whether the test passes exactly if it panics.
    fn should_panic(&self) -> bool;
    /// The memory map that the test is to boot with, if that is another than the boot loader's.
    fn map(&self) -> Option<EditMap>;
    /// Runs the test.
    fn run(&self) -> TestResult;
}

impl<F> Test for F
where
    F: Fn<()>,
    F::Output: Outcome,
{
    fn path(&self) -> &'static str {
        type_name::<F>()
    }

    fn should_panic(&self) -> bool {
        false
    }

    fn map(&self) -> Option<EditMap> {
        None
    }

    fn run(&self) -> TestResult {
        self().judge()
    }
}

/// What [`should_panic!`] and [`boots_with!`] make.
#[doc(hidden)]
pub struct Special {
    pub name: &'static str,
    pub map: Option<EditMap>,
    pub should_panic: bool,
    pub run: fn(),
}

impl Test for Special {
    fn path(&self) -> &'static str {
        self.name
    }

    fn should_panic(&self) -> bool {
        self.should_panic
    }

    fn map(&self) -> Option<EditMap> {
        self.map
    }

    fn run(&self) -> TestResult {
        (self.run)();
        TestResult::Passed
    }
}

/// What a test may return.
pub trait Outcome {
    /// Whether it is good news. What is not is printed.
    fn judge(self) -> TestResult;
}

impl Outcome for () {
    fn judge(self) -> TestResult {
        TestResult::Passed
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn judge(self) -> TestResult {
        match self {
            Ok(()) => TestResult::Passed,
            Err(error) => {
                println!("error: {error}");
                TestResult::Failed
            }
        }
    }
}

/// The test runner: does what the host program asks for and ends the machine. What is left then, because a test has a boot
/// to itself, the host program boots again for.
pub fn run(tests: &[&dyn Test]) {
    let selection = Input::read(input::SELECTION);
    let selection = Selection::parse(selection.as_str().unwrap_or_default());
    let first = Input::read(input::FIRST_TEST);
    let first: u32 = first.as_str().and_then(|first| first.trim().parse().ok()).unwrap_or(0);

    let tests = || (0..).zip(tests).map(|(index, test)| (index, name_of(*test), *test));
    let selected = || tests().filter(|(_, name, _)| selection.takes(name));
    let to_run = || selected().filter(|(index, ..)| *index >= first);
    if to_run().next().is_none_or(|(_, _, test)| test.map().is_none()) {
        set_up(None);
    }
    host::send(&Event::Plan { total: tests().count() as u32, selected: selected().count() as u32 });
    if Input::read(input::LIST).is_given() {
        for (index, name, _) in selected() {
            host::send(&Event::Listed { index, name });
        }
        host::exit(ExitCode::Success);
    }

    let mut code = ExitCode::Success;
    for (index, name, test) in to_run() {
        let (should_panic, map) = (test.should_panic(), test.map());
        if map.is_some() && is_set_up() {
            break;
        }
        host::send(&Event::TestStarted { index, name, should_panic });
        if map.is_some() {
            set_up(map);
        }
        let stopwatch = Stopwatch::start();
        let result = test.run();
        let time = stopwatch.elapsed();
        let result = if still_sound() { result } else { TestResult::Failed };
        if result == TestResult::Failed || should_panic {
            code = ExitCode::Failure;
        }
        host::send(&Event::TestFinished { index, result, instructions: time.0 });
        if map.is_some() {
            break;
        }
    }
    host::exit(code)
}

/// A test's name: its path without that of the binary, as in any `cargo test`.
fn name_of(test: &dyn Test) -> &'static str {
    let path = test.path();
    path.split_once("::").map_or(path, |(_, name)| name)
}

/// Whether the page allocator and the heap are still sound, and no lock was taken where it may be a deadlock one day. Asked
/// after every test, whatever it is about: nothing that a kernel does may leave a broken invariant behind. A test that is
/// about such reports takes them.
fn still_sound() -> bool {
    let reports = lockdep::unread();
    if reports > 0 {
        println!("error: the validator of locks has made {reports} reports, see above");
        lockdep::take().for_each(drop);
        return false;
    }
    match frames().validate().and_then(|()| heap::HEAP.validate()) {
        Ok(()) => true,
        Err(violation) => {
            println!("error: the test leaves a broken invariant: {violation}");
            false
        }
    }
}
