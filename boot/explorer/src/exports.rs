//! What the page calls. Text and pixels lie where [`text`] and [`pixels`] say until the next call; what the page hands over it
//! writes to what [`room`] gives.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::UnsafeCell;

use bifolio::frame::Order;

use crate::app::App;
use crate::change::Level;
use crate::filter::{Filter, Kind};
use crate::{change, describe, firmware, tree};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

struct Page {
    app: Option<App>,
    room: Vec<u8>,
    text: String,
    tree: Vec<u32>,
    is_dark: bool,
}

struct Only(UnsafeCell<Page>);
// SAFETY: a page has one thread.
unsafe impl Sync for Only {}

static PAGE: Only =
    Only(UnsafeCell::new(Page { app: None, room: Vec::new(), text: String::new(), tree: Vec::new(), is_dark: false }));

/// The page's state, for the length of one call.
fn with<R>(inside: impl FnOnce(&mut Page) -> R) -> R {
    // SAFETY: a page has one thread, and none of the exports calls another: so this is the only reference.
    inside(unsafe { &mut *PAGE.0.get() })
}

/// The same, with the machine; `otherwise` if there is none.
fn with_app<R>(otherwise: R, inside: impl FnOnce(&mut App, &mut String) -> R) -> R {
    with(|page| match &mut page.app {
        Some(app) => inside(app, &mut page.text),
        None => otherwise,
    })
}

/// Room for so many bytes, which the page writes before it hands them over.
#[unsafe(no_mangle)]
extern "C" fn room(bytes: usize) -> *mut u8 {
    with(|page| {
        page.room = alloc::vec![0; bytes];
        page.room.as_mut_ptr()
    })
}

/// Where the text of the last call is.
#[unsafe(no_mangle)]
extern "C" fn text() -> *const u8 {
    with(|page| page.text.as_ptr())
}

/// How many bytes it has.
#[unsafe(no_mangle)]
extern "C" fn text_length() -> usize {
    with(|page| page.text.len())
}

fn take(page: &mut Page, app: Result<App, String>) -> bool {
    match app {
        Ok(mut app) => {
            app.map.set_colours(page.is_dark);
            page.text = app.told().to_string();
            page.app = Some(app);
            true
        }
        Err(error) => {
            page.text = error;
            false
        }
    }
}

/// Opens the trace in the room.
#[unsafe(no_mangle)]
extern "C" fn open() -> bool {
    with(|page| {
        let trace = core::mem::take(&mut page.room);
        take(page, App::open(trace))
    })
}

/// Opens the beginning, in the room, of a trace that is still being written. False without text if that is no whole header.
#[unsafe(no_mangle)]
extern "C" fn attach() -> bool {
    with(|page| {
        let beginning = core::mem::take(&mut page.room);
        page.text.clear();
        App::attach(&beginning).transpose().is_some_and(|app| take(page, app))
    })
}

/// Adds what is in the room to the trace; false if that cannot be.
#[unsafe(no_mangle)]
extern "C" fn extend() -> bool {
    with(|page| {
        let bytes = core::mem::take(&mut page.room);
        let Some(app) = &mut page.app else { return false };
        app.extend(&bytes).map_err(|error| page.text = error).is_ok()
    })
}

/// Makes a machine.
#[unsafe(no_mangle)]
extern "C" fn machine(mib: f64, cpus: usize) -> bool {
    with(|page| take(page, App::new(mib as u64, cpus)))
}

/// Makes one whose memory map is the text in the room.
#[unsafe(no_mangle)]
extern "C" fn machine_of_map(cpus: usize) -> bool {
    with(|page| {
        let said = String::from_utf8(core::mem::take(&mut page.room)).unwrap_or_default();
        take(page, firmware::read(&said).and_then(|map| App::of_map(&map, cpus)))
    })
}

/// The maps that are known, with their names.
#[unsafe(no_mangle)]
extern "C" fn known_maps() {
    with(|page| page.text = describe::known_maps());
}

/// Follows the trace further, and checks it.
#[unsafe(no_mangle)]
extern "C" fn follow(operations: f64) -> bool {
    with_app(false, |app, text| {
        let goes_on = app.follow(operations as u64);
        *text = app.told().to_string();
        goes_on
    })
}

/// Goes to a moment.
#[unsafe(no_mangle)]
extern "C" fn seek(operation: f64) {
    with_app((), |app, text| {
        app.seek(operation as u64);
        *text = app.told().to_string();
    });
}

/// How many operations were done.
#[unsafe(no_mangle)]
extern "C" fn operation() -> f64 {
    with_app(0.0, |app, _| app.world().operation() as f64)
}

/// How many there are.
#[unsafe(no_mangle)]
extern "C" fn total() -> f64 {
    with_app(0.0, |app, _| app.world().total() as f64)
}

/// How many operations were ever done, and done again.
#[unsafe(no_mangle)]
extern "C" fn done() -> f64 {
    with_app(0.0, |app, _| app.world().done() as f64)
}

/// How many there are between two checkpoints.
#[unsafe(no_mangle)]
extern "C" fn interval() -> f64 {
    with_app(0.0, |app, _| app.world().interval() as f64)
}

/// Lets only operations of a CPU, or of any if that is -1, be gone to, and only those of a kind, or of any.
#[unsafe(no_mangle)]
extern "C" fn filter(cpu: i32, kind: i32) {
    with_app((), |app, _| {
        let kind = usize::try_from(kind).ok().and_then(|kind| Kind::ALL.get(kind).copied());
        app.set_filter(Filter { cpu: usize::try_from(cpu).ok(), kind });
    });
}

/// How many operations there are to go to.
#[unsafe(no_mangle)]
extern "C" fn matching() -> f64 {
    with_app(0.0, |app, _| app.matching() as f64)
}

/// The moment so many of them on or back; -1 if there is none.
#[unsafe(no_mangle)]
extern "C" fn next(steps: i32) -> f64 {
    with_app(-1.0, |app, _| app.next(steps.into()).map_or(-1.0, |moment| moment as f64))
}

/// What the last operation has split or merged, as JSON, if this is the moment behind it and the one before was seen.
#[unsafe(no_mangle)]
extern "C" fn change() {
    with_app((), |app, text| *text = change_of(app));
}

fn change_of(app: &App) -> String {
    let Some(change) = change::last(app) else { return "null".into() };
    let is_split = change.is_split;
    let steps: Vec<String> = change
        .levels()
        .map(|level| {
            let Level { half, buddy, order } = level;
            let whole = rectangle(app, half.min(buddy), Order::new(order.get() + 1).unwrap_or(Order::MAX));
            let [half_at, buddy_at] = [half, buddy].map(|head| rectangle(app, head, order));
            format!("{{\"words\":\"{level}\",\"whole\":{whole},\"half\":{half_at},\"buddy\":{buddy_at}}}")
        })
        .collect();
    format!("{{\"split\":{is_split},\"steps\":[{}]}}", steps.join(","))
}

/// Runs the commands in the room; false if one was refused.
#[unsafe(no_mangle)]
extern "C" fn run() -> bool {
    with(|page| {
        let line = String::from_utf8_lossy(&page.room).into_owned();
        let Some(app) = &mut page.app else { return false };
        let (said, is_good) = match app.run(&line) {
            Ok(said) => (said, true),
            Err(error) => (error, false),
        };
        page.text = said;
        is_good
    })
}

/// Takes the colours of a dark page, or of a light one.
#[unsafe(no_mangle)]
extern "C" fn dark(is_dark: bool) {
    with(|page| {
        page.is_dark = is_dark;
        if let Some(app) = &mut page.app {
            app.map.set_colours(is_dark);
        }
    });
}

/// Makes the map so many pixels large, and shows all of it.
#[unsafe(no_mangle)]
extern "C" fn fit(width: usize, height: usize) {
    with_app((), |app, _| {
        let (map, cells) = app.picture();
        map.fit(cells, width, height);
    });
}

/// Moves the picture over the map.
#[unsafe(no_mangle)]
extern "C" fn pan(x: i32, y: i32) {
    with_app((), |app, _| {
        let (map, cells) = app.picture();
        map.pan(cells, x.into(), y.into());
    });
}

/// Zooms in or out at a pixel.
#[unsafe(no_mangle)]
extern "C" fn zoom(steps: i32, x: i32, y: i32) {
    with_app((), |app, _| {
        let (map, cells) = app.picture();
        map.zoom(cells, steps, x.into(), y.into());
    });
}

/// Draws the map; where its pixels are.
#[unsafe(no_mangle)]
extern "C" fn draw() -> *const u32 {
    with_app(core::ptr::null(), |app, _| {
        let (map, cells) = app.picture();
        map.draw(cells).as_ptr()
    })
}

/// Draws the tree around a frame; where its pixels are.
#[unsafe(no_mangle)]
extern "C" fn draw_tree(pfn: f64, width: usize, height: usize) -> *const u32 {
    with(|page| {
        let Some(app) = &page.app else { return core::ptr::null() };
        page.tree = tree::draw(app.cells(), pfn as u64, width, height, app.map.is_dark());
        page.tree.as_ptr()
    })
}

/// The frame at a pixel; -1 where there is none.
#[unsafe(no_mangle)]
extern "C" fn hit(x: i32, y: i32) -> f64 {
    with_app(-1.0, |app, _| app.map.hit(app.cells(), x.into(), y.into()).map_or(-1.0, |pfn| pfn as f64))
}

/// Moves the picture to a frame.
#[unsafe(no_mangle)]
extern "C" fn reveal(pfn: f64) {
    with_app((), |app, _| {
        let order = app.block_at(pfn as u64).map_or(Order::ZERO, |(_, order)| order);
        let (map, cells) = app.picture();
        map.reveal(cells, pfn as u64, order);
    });
}

fn rectangle(app: &App, pfn: u64, order: Order) -> String {
    match app.map.rectangle(app.cells(), pfn, order) {
        Some(shown) => format!("[{},{},{},{}]", shown.x, shown.y, shown.width, shown.height),
        None => "null".into(),
    }
}

/// What is known of a frame, as JSON: its block, where that is in the picture, its buddy, and all in words.
#[unsafe(no_mangle)]
extern "C" fn look(pfn: f64) {
    with_app((), |app, text| {
        let pfn = pfn as u64;
        let words = describe::escaped(&describe::frame(app, pfn));
        *text = match app.block_at(pfn) {
            Some((head, order)) => {
                let buddy = head ^ order.frames();
                format!(
                    "{{\"pfn\":{pfn},\"head\":{head},\"order\":{order},\"allocated\":{},\"buddy\":{buddy},\"at\":{},\"buddyAt\":{},\"words\":\"{words}\"}}",
                    app.allocated(pfn).is_some(),
                    rectangle(app, head, order),
                    if order == Order::MAX { "null".into() } else { rectangle(app, buddy, order) }
                )
            }
            None => format!("{{\"pfn\":{pfn},\"words\":\"{words}\"}}"),
        };
    });
}

/// What happened to a frame, as JSON.
#[unsafe(no_mangle)]
extern "C" fn history(pfn: f64) {
    with_app((), |app, text| {
        let lines = describe::history(app, pfn as u64);
        let lines: Vec<String> =
            lines.iter().map(|(number, line)| format!("[{number},\"{}\"]", describe::escaped(line))).collect();
        *text = format!("[{}]", lines.join(","));
    });
}

/// The slab that holds a frame, as JSON.
#[unsafe(no_mangle)]
extern "C" fn slab(pfn: f64) {
    with_app((), |app, text| *text = app.slab(pfn as u64));
}

/// The zones, as JSON.
#[unsafe(no_mangle)]
extern "C" fn gauges() {
    with_app((), |app, text| *text = describe::gauges(app));
}

/// The frame that the last operation was about; -1 if there is none.
#[unsafe(no_mangle)]
extern "C" fn touched() -> f64 {
    with_app(-1.0, |app, _| app.touched().map_or(-1.0, |pfn| pfn as f64))
}

/// The hash of the state, as text.
#[unsafe(no_mangle)]
extern "C" fn hash() {
    with_app((), |app, text| *text = format!("{:#018x}", app.world().hash()));
}

/// The trace so far goes where text does, as bytes.
#[unsafe(no_mangle)]
extern "C" fn trace_length() -> usize {
    with(|page| {
        let Some(app) = &page.app else { return 0 };
        page.room = app.world().with_trace(<[u8]>::to_vec);
        page.room.len()
    })
}

/// Where [`trace_length`] has put it.
#[unsafe(no_mangle)]
extern "C" fn trace_bytes() -> *const u8 {
    with(|page| page.room.as_ptr())
}

/// A question to a lesson, perhaps with its answer; false if there is no such lesson.
#[unsafe(no_mangle)]
extern "C" fn quiz(lesson: f64, seed: f64, is_answered: bool) -> bool {
    with(|page| {
        let question = describe::question(lesson as u64, seed as u64, is_answered);
        question.map(|question| page.text = question).is_some()
    })
}

/// The names of sections and the labels of blocks, as JSON, each with where it goes.
#[unsafe(no_mangle)]
extern "C" fn labels() {
    with_app((), |app, text| {
        let sections: Vec<String> = app
            .map
            .headings(app.cells())
            .map(|(number, y)| format!("[{y},\"{}\"]", describe::section(&app.cells().sections()[number])))
            .collect();
        let mut blocks = Vec::new();
        app.map.labels(app.cells(), |pfn, order, at| {
            blocks.push(format!("[{},{},{},{},\"{pfn:#x}\",{order}]", at.x, at.y, at.width, at.height));
        });
        *text = format!(
            "{{\"left\":{},\"scale\":{},\"sections\":[{}],\"blocks\":[{}]}}",
            app.map.start(),
            app.map.scale(),
            sections.join(","),
            blocks.join(",")
        );
    });
}
