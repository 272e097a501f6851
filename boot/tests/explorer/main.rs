//! The explorer's page, in a real browser: it opens from disk without a complaint, is used by keyboard, and shows what the host's
//! replay knows.

mod kept;
#[path = "../page/mod.rs"]
mod page;

use bifolio::allocator::Call;
use boot::browser::Browser;
use replay::World;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A trace of a machine that was used: so many operations, on several CPUs.
fn trace(operations: u64) -> Vec<u8> {
    let mut app = explorer::App::new(64, 4).unwrap();
    app.run(&format!(
        "churn {operations} 7; drain; kmalloc 100 900; cpu 1; kmalloc 64 300; kmalloc 20000; alloc 3 MOVABLE; kfree all; shrink; \
         alloc 0; free all; alloc 5; cpu 2; kmalloc 24 2000; alloc 2 RECLAIMABLE"
    ))
    .unwrap();
    app.world().with_trace(<[u8]>::to_vec)
}

/// A browser with the page open, or `None` where there is no browser: then that is said.
fn open(trace: &[u8]) -> Option<(Browser, TempDir, PathBuf)> {
    let program = page::chromium()?;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("explorer.html");
    fs::write(&file, boot::explorer::put_together(&fs::read(page::code()).unwrap(), trace)).unwrap();
    let mut browser = Browser::start(&program).unwrap();
    browser.set(1280, 900, false).unwrap();
    browser.open(&file, "").unwrap();
    if !trace.is_empty() {
        browser.wait_for("document.documentElement.dataset.verified !== undefined").unwrap();
    }
    Some((browser, directory, file))
}

fn text_of(browser: &mut Browser, call: &str) -> String {
    let value = browser.evaluate(&format!("explorer.wasm.{call}, explorer.text()")).unwrap();
    value.as_str().unwrap().to_owned()
}

fn number(browser: &mut Browser, expression: &str) -> u64 {
    browser.evaluate(expression).unwrap().as_f64().unwrap_or_else(|| panic!("{expression} is no number")) as u64
}

/// Three instants of a trace, as the host replays it and as the page does.
#[test]
fn the_page_shows_what_the_host_replays() {
    let trace = trace(20_000);
    let Some((mut browser, ..)) = open(&trace) else { return };
    let mut world = World::open(trace, 1 << 24).unwrap();
    assert_eq!(number(&mut browser, "explorer.wasm.total()"), world.total());
    for part in [3, 2, 1] {
        let moment = world.total() / part - part;
        world.seek(moment).unwrap();
        browser.evaluate(&format!("explorer.seek({moment})")).unwrap();
        assert_eq!(text_of(&mut browser, "hash()"), format!("{:#018x}", world.hash()));
        let gauges: Value = serde_json::from_str(&text_of(&mut browser, "gauges()")).unwrap();
        let zones = world.zones();
        let shown = gauges["zones"].as_array().unwrap();
        for (zone, shown) in zones.iter().filter(|zone| zone.managed > 0).zip(shown) {
            let free = world.frames().free_blocks(zone.kind);
            let counts: Vec<u64> = bifolio::frame::Order::all().map(|order| free.of(order)).collect();
            assert_eq!(shown["free"], zone.free);
            assert_eq!(shown["counts"], serde_json::json!(counts));
        }
    }
    assert_eq!(browser.take_problems(), [""; 0]);
}

#[test]
fn everything_can_be_done_by_keys() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    browser.evaluate("document.getElementById('map').focus()").unwrap();
    let operations = "explorer.wasm.operation()";
    for (key, expected) in
        [("a", 1), ("a", 2), ("f", 3), ("u", 2), ("r", 3), ("[", 2), ("]", 3), ("Home", 0), ("End", 3)]
    {
        browser.press(key).unwrap();
        assert_eq!(number(&mut browser, operations), expected, "after {key}");
    }
    let cursor = number(&mut browser, "explorer.state.cursor");
    browser.press("ArrowRight").unwrap();
    assert!(number(&mut browser, "explorer.state.cursor") > cursor);
    let said = browser.evaluate("document.getElementById('said').textContent").unwrap();
    assert!(said.as_str().unwrap().starts_with("frame 0x"), "{said}");
    let scale = "explorer.wasm.labels(), JSON.parse(explorer.text()).scale";
    let before = number(&mut browser, scale);
    browser.press("+").unwrap();
    assert_eq!(number(&mut browser, scale), before + 1);
    browser.press("-").unwrap();
    assert_eq!(number(&mut browser, scale), before);
    // Every control is reached by Tab, and none keeps the focus for itself.
    let controls = "[...document.querySelectorAll('main button, main select, main input, header summary')]\
                    .filter((one) => one.offsetParent && !one.disabled).length";
    let (count, mut reached) = (number(&mut browser, controls), std::collections::BTreeSet::new());
    let name = "((one) => one.id || one.textContent || one.tagName)(document.activeElement)";
    for _ in 0..count + 20 {
        browser.press("Tab").unwrap();
        reached.insert(browser.evaluate(name).unwrap().to_string());
    }
    for id in ["play", "time", "line", "undo", "zoom-in", "cpu", "kind", "theme"] {
        assert!(reached.contains(&format!("\"{id}\"")), "{id} is not reached by Tab: {reached:?}");
    }
    browser.evaluate("document.getElementById('line').focus()").unwrap();
    for key in ["alloc 4 MOVABLE", "Enter"] {
        match key {
            "Enter" => browser.press(key).unwrap(),
            text => drop(browser.call("Input.insertText", serde_json::json!({ "text": text })).unwrap()),
        }
    }
    assert_eq!(number(&mut browser, operations), 4);
    assert_eq!(browser.take_problems(), [""; 0]);
}

#[test]
fn a_slab_is_shown_slot_by_slot_as_its_words_have_it() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    browser.evaluate("explorer.run('kmalloc 100 70; cpu 1')").unwrap();
    let address =
        browser.evaluate("explorer.run('kmalloc 100 3'), document.getElementById('log').lastChild.textContent");
    let address = address.unwrap().as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    // An object of another CPU's slab is freed there.
    browser.evaluate(&format!("explorer.run('cpu 0; kfree {address}')")).unwrap();
    browser.evaluate("new Promise((done) => setTimeout(done, 200))").unwrap();
    let count = |browser: &mut Browser, kind: &str| {
        number(browser, &format!("document.querySelectorAll('#slab-card:not([hidden]) .bits .{kind}').length"))
    };
    assert_eq!(["live", "remote"].map(|kind| count(&mut browser, kind)), [2, 1]);
    let pfn = number(&mut browser, "explorer.state.cursor");
    let slab: Value = serde_json::from_str(&text_of(&mut browser, &format!("slab({pfn})"))).unwrap();
    let ones = |place: usize| -> u32 {
        let words = slab["words"].as_array().unwrap();
        words.iter().map(|word| u64::from_str_radix(word[place].as_str().unwrap(), 16).unwrap().count_ones()).sum()
    };
    let slots = slab["slots"].as_u64().unwrap() as u32;
    assert_eq!((slots - ones(0), ones(1), &slab["owner"]), (3, 1, &serde_json::json!("CPU 1")));
    assert_eq!(count(&mut browser, "hand"), u64::from(ones(2)));
    assert_eq!(number(&mut browser, &format!("explorer.run('kfree {address}')")), 0, "twice");
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// The pixel in the middle of a block's first frame.
fn colour(browser: &mut Browser, pfn: u64) -> Value {
    browser
        .evaluate(&format!(
            "(() => {{ explorer.wasm.look({pfn}); const [x, y, w, h] = JSON.parse(explorer.text()).at; \
             const map = document.getElementById('map'); \
             return [...map.getContext('2d').getImageData(x + 5, y + 2, 1, 1).data].slice(0, 3); }})()"
        ))
        .unwrap()
}

#[test]
fn known_frames_have_their_colours() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    for (is_dark, movable, unmovable) in
        [(false, [0x00, 0x72, 0xb2], [0xd5, 0x5e, 0x00]), (true, [0x2c, 0x84, 0xc8], [0xd5, 0x5e, 0x00])]
    {
        browser.set(1280, 900, is_dark).unwrap();
        browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))").unwrap();
        for (flags, expected) in [("MOVABLE", movable), ("", unmovable)] {
            browser.evaluate(&format!("explorer.run('free all; alloc 9 {flags}')")).unwrap();
            let pfn = number(&mut browser, "explorer.wasm.touched()");
            assert_eq!(colour(&mut browser, pfn), serde_json::json!(expected), "{flags}, dark: {is_dark}");
        }
    }
}

#[test]
fn a_broken_trace_gets_a_clear_message_and_what_there_was_stays() {
    let mut broken = trace(100);
    broken.truncate(broken.len() - 1);
    let length = broken.len();
    let Some((mut browser, ..)) = open(&[]) else { return };
    browser.evaluate("explorer.run('alloc 3')").unwrap();
    let bytes = serde_json::to_string(&broken).unwrap();
    let opened = browser
        .evaluate(&format!(
            "(async () => {{ const data = new DataTransfer(); data.items.add(new File([new Uint8Array({bytes})], 'x.trace')); \
             const file = document.getElementById('file'); file.files = data.files; await file.onchange(); \
             return document.getElementById('alert').textContent; }})()"
        ))
        .unwrap();
    assert_eq!(opened, format!("the trace ends in the middle of a record, at byte {length:#x}"));
    assert_eq!(number(&mut browser, "explorer.wasm.operation()"), 1);
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// What is gone to with the page's filter set so, from the beginning on: moment by moment.
fn stepped(browser: &mut Browser, cpu: i64, kind: i64) -> Vec<u64> {
    let set = |id: &str, value: i64| {
        format!(
            "{{ const menu = document.getElementById('{id}'); menu.value = '{value}'; menu.dispatchEvent(new Event('change')); }}"
        )
    };
    browser.evaluate(&[set("only-cpu", cpu), set("only-kind", kind)].concat()).unwrap();
    browser.evaluate("document.getElementById('map').focus(), explorer.seek(0)").unwrap();
    let mut moments = vec![0];
    loop {
        browser.press("]").unwrap();
        let moment = number(browser, "explorer.wasm.operation()");
        if moments.last() == Some(&moment) {
            return moments.split_off(1);
        }
        moments.push(moment);
    }
}

#[test]
fn what_is_stepped_through_can_be_of_one_cpu_and_of_one_kind() {
    let trace = trace(120);
    let Some((mut browser, ..)) = open(&trace) else { return };
    let mut world = World::open(trace, 1 << 24).unwrap();
    world.run().unwrap();
    let (mut of_cpu, mut frees_of_cpu, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    world.for_each_operation(|number, within, last| {
        let on =
            |list: &mut Vec<u64>, is_it: bool| list.extend(is_it.then_some(number + 1).filter(|_| within.is_empty()));
        on(&mut of_cpu, last.cpu == 2);
        on(&mut frees_of_cpu, last.cpu == 2 && matches!(last.call, Call::Free { .. }));
        on(&mut refused, last.returned.is_none());
    });
    of_cpu.truncate(60);
    assert!(of_cpu.len() == 60 && frees_of_cpu.len() > 5);
    assert_eq!(stepped(&mut browser, 2, 1), frees_of_cpu);
    let shown = browser.evaluate("document.getElementById('matching').textContent").unwrap();
    assert!(shown.as_str().unwrap().starts_with(&format!("{} of ", frees_of_cpu.len())), "{shown}");
    assert_eq!(stepped(&mut browser, -1, 4), refused);
    // And back again, from the end.
    browser.evaluate("explorer.seek(explorer.wasm.total()), explorer.wasm.filter(2, 1)").unwrap();
    for moment in frees_of_cpu.iter().rev() {
        browser.press("[").unwrap();
        assert_eq!(number(&mut browser, "explorer.wasm.operation()"), *moment);
    }
    assert_eq!(browser.take_problems(), [""; 0]);
}

#[test]
fn a_refusal_says_of_each_zone_what_the_decision_was() {
    let mut app = explorer::App::new(64, 2).unwrap();
    app.run("fragment 50").unwrap();
    let refused = app.run("alloc 10 MOVABLE").unwrap_err();
    let explained = app.run("explain alloc 10 MOVABLE").unwrap();
    let (_, at_need) = explained.split_once("no zone serves that above 'low'").unwrap();
    let why: Vec<&str> = at_need.lines().skip(1).filter(|line| line.starts_with("zone ")).collect();
    assert!(why.len() >= 3 && why.iter().any(|line| line.contains("in one piece")), "{explained}");
    assert_eq!(refused.lines().skip(1).map(str::trim).collect::<Vec<_>>(), why, "{refused}");
}

#[test]
fn how_much_is_in_pieces_is_remembered_of_moments_that_were_seen() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    let shown = |browser: &mut Browser| {
        let all = "explorer.state.past.seen.map(([moment, zones]) => [moment, Math.max(...zones)])";
        serde_json::from_value::<Vec<(u64, u64)>>(browser.evaluate(all).unwrap()).unwrap()
    };
    browser.evaluate("explorer.run('fragment 50')").unwrap();
    let seen = shown(&mut browser);
    let [(0, 0..=200), (end, 900..=1000)] = seen[..] else { panic!("{seen:?}") };
    browser.evaluate("explorer.seek(10)").unwrap();
    assert_eq!(shown(&mut browser).len(), 3);
    // What is done there is in place of what came.
    browser.evaluate("explorer.run('alloc 0')").unwrap();
    let seen = shown(&mut browser);
    assert!(seen.len() == 3 && seen.iter().all(|(moment, _)| *moment < end), "{seen:?}");
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// Goes from a moment to the next one, and returns what was moved then: what is said at each level.
fn moved(browser: &mut Browser, moment: u64) -> Vec<String> {
    let levels = browser
        .evaluate(&format!(
            "(explorer.seek({moment}), explorer.seek({moment} + 1), explorer.state.change?.steps.map((step) => step.words) ?? [])"
        ))
        .unwrap();
    serde_json::from_value(levels).unwrap()
}

#[test]
fn splits_and_merges_move_with_the_buddy_computed_and_stand_still_for_who_prefers_that() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    let moving = |browser: &mut Browser, motion: &str| {
        let features = serde_json::json!({ "features": [{ "name": "prefers-reduced-motion", "value": motion }] });
        browser.call("Emulation.setEmulatedMedia", features).unwrap();
    };
    moving(&mut browser, "no-preference");
    // What is left of the last block of memory goes first.
    browser.evaluate("explorer.run('alloc 6 MOVABLE; alloc 7 MOVABLE; alloc 8 MOVABLE; alloc 9 MOVABLE'), explorer.run('alloc 6 MOVABLE')").unwrap();
    let pfn = number(&mut browser, "explorer.wasm.touched()");
    browser.evaluate(&format!("explorer.run('free {pfn:#x}')")).unwrap();
    let [split, merged] = [4, 5].map(|moment| moved(&mut browser, moment));
    let level = |order: u64| {
        let half = pfn & !((1 << order) - 1);
        format!("{half:#x} ^ (1 << {order}) = {:#x}", half ^ 1 << order)
    };
    assert_eq!(merged, (6..10).map(level).collect::<Vec<_>>());
    assert_eq!(split, (6..10).rev().map(level).collect::<Vec<_>>());
    browser.wait_for("explorer.state.change === null").unwrap();
    moving(&mut browser, "reduce");
    assert!(moved(&mut browser, 4).is_empty());
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// 4 GiB, and a million operations: what a picture costs is counted, and timed by `boot scrub`, which judges that.
#[test]
fn a_long_trace_is_scrubbed_from_checkpoint_to_checkpoint() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    browser
        .evaluate("explorer.begin('4 GiB', explorer.wasm.machine(4096, 4)), explorer.run('churn 1000000 7')")
        .unwrap();
    assert!(number(&mut browser, "explorer.wasm.total()") >= 1_000_000);
    let interval = number(&mut browser, "explorer.wasm.interval()");
    assert!(interval <= 1024, "{interval}");
    let scrubbed = browser
        .evaluate(
            "(() => { const total = explorer.wasm.total(), done = [], hashes = {}; \
             const hash = () => (explorer.wasm.hash(), explorer.text()); \
             for (let n = 0; n < 300; n++) { const at = Math.floor((n * 7919 % 100) * total / 100), before = explorer.wasm.done(); \
               explorer.glimpse(at); done.push(explorer.wasm.done() - before); \
               if ((hashes[at] ??= hash()) !== hash()) throw new Error(`another state at ${at}`); } return done; })()",
        )
        .unwrap();
    let scrubbed: Vec<u64> = scrubbed.as_array().unwrap().iter().map(|done| done.as_f64().unwrap() as u64).collect();
    assert_eq!(scrubbed.len(), 300);
    assert!(scrubbed.iter().all(|done| *done <= interval), "more than {interval}: {scrubbed:?}");
    assert_eq!(browser.take_problems(), [""; 0]);
}

#[test]
fn what_is_scrubbed_is_what_a_replay_shows() {
    let trace = trace(30_000);
    let Some((mut browser, ..)) = open(&trace) else { return };
    browser.evaluate("[3, 1, 2].forEach((n) => explorer.glimpse(Math.floor(n * explorer.wasm.total() / 4)))").unwrap();
    let moment = number(&mut browser, "explorer.wasm.operation()");
    let mut world = World::open(trace, 1 << 24).unwrap();
    world.seek(moment).unwrap();
    assert_eq!(text_of(&mut browser, "hash()"), format!("{:#018x}", world.hash()));
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// Chooses a machine by its menu, as a person does, and starts it; returns what is complained of.
fn start(browser: &mut Browser, memory: &str, map: Option<&str>) -> String {
    let change = format!(
        "{{ const menu = document.getElementById('memory'); menu.value = '{memory}'; menu.dispatchEvent(new Event('change')); }}"
    );
    browser.evaluate(&change).unwrap();
    if let Some(map) = map {
        let map = serde_json::to_string(map).unwrap();
        browser.evaluate(&format!("document.getElementById('map-text').value = {map}")).unwrap();
    }
    browser.evaluate("document.getElementById('machine').requestSubmit()").unwrap();
    browser.evaluate("document.getElementById('alert').textContent").unwrap().as_str().unwrap().to_owned()
}

#[test]
fn a_machine_has_the_memory_map_of_real_firmware_or_one_that_is_pasted() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    let managed = |browser: &mut Browser| {
        let gauges: Value = serde_json::from_str(&text_of(browser, "gauges()")).unwrap();
        let zones = gauges["zones"].as_array().unwrap().iter();
        zones
            .map(|zone| (zone["name"].as_str().unwrap().to_owned(), zone["managed"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    for (place, (name, map)) in explorer::firmware::KNOWN.iter().enumerate() {
        assert_eq!(start(&mut browser, &format!("map {place}"), None), "", "{name}");
        let map = explorer::firmware::read(map).unwrap();
        let app = explorer::App::of_map(&map, 4).unwrap();
        assert_eq!(text_of(&mut browser, "hash()"), format!("{:#018x}", app.world().hash()), "{name}");
        assert_eq!(managed(&mut browser).len(), 3, "{name}");
    }
    let own = "[    0.0] BIOS-e820: [mem 0x100000-0x7ffffff] usable\n[    0.0] BIOS-e820: [mem 0xfff00000-0xffffffffffffffff] reserved\n\
               [    0.0] BIOS-e820: [mem 0x0fffffffffff0000-0x100000000000ffff] usable";
    assert_eq!(start(&mut browser, "own", Some(own)), "");
    let zones = managed(&mut browser);
    assert!(zones.iter().map(|zone| zone.1).sum::<u64>() > 0x7f00 - 100 && zones.len() == 2, "{zones:?}");
    let told = browser.evaluate("document.getElementById('told').textContent").unwrap();
    assert!(told.as_str().unwrap().starts_with("Of the map, not believed: "), "{told}");
    // What cannot be is refused, and the machine there was stays.
    for (map, why) in [("nothing", "no line of this has a range"), ("0x1000-0x1fff reserved", "no usable frame")] {
        let refused = start(&mut browser, "own", Some(map));
        assert!(refused.contains(why), "{refused}");
        assert_eq!(managed(&mut browser), zones);
    }
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// What the page asks to a lesson, and answers, is what `make quiz` does: for three seeds a lesson.
#[test]
fn the_page_asks_and_answers_as_make_quiz_does() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    let shown = "document.getElementById('question').textContent";
    for lesson in 0..quiz::LESSONS {
        browser.evaluate(&format!("explorer.exhibit({lesson})")).unwrap();
        for seed in 1..=3 {
            let question = quiz::Question::new(lesson, seed).unwrap();
            assert_eq!(browser.evaluate(shown).unwrap(), question.text, "lesson {lesson}, seed {seed}");
            browser.evaluate("document.getElementById('answer').click()").unwrap();
            let told = format!("{}\n\n{}", question.text, question.solution());
            assert_eq!(browser.evaluate(shown).unwrap(), told, "lesson {lesson}, seed {seed}");
            browser.evaluate("document.getElementById('ask').click()").unwrap();
        }
    }
    let question = quiz::Question::new(3, 7).unwrap();
    browser.evaluate("explorer.run('answer 3 7')").unwrap();
    let log = browser.evaluate("document.getElementById('log').lastChild.textContent").unwrap();
    assert!(log.as_str().unwrap().ends_with(&format!("Answer: {}", question.answer)), "{log}");
    assert_eq!(number(&mut browser, "explorer.run('quiz 10')"), 0, "there is no such lesson");
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// Each lesson's exhibit, as its link opens it: something was done, all of it went as it should, and it is said what to look at.
#[test]
fn each_lesson_has_an_exhibit() {
    let Some((mut browser, _directory, file)) = open(&[]) else { return };
    for lesson in 0..10 {
        assert_eq!(browser.evaluate(&format!("explorer.exhibit({lesson})")).unwrap(), true, "lesson {lesson}");
        let total = number(&mut browser, "explorer.wasm.total()");
        assert!(total >= 4, "lesson {lesson}: {total} operations");
        assert_eq!(number(&mut browser, "explorer.wasm.operation()"), 0, "lesson {lesson}");
        let told = browser.evaluate("document.getElementById('told').textContent").unwrap();
        assert!(told.as_str().unwrap().starts_with(&format!("Lesson {lesson}: ")), "{told}");
        let title = browser.evaluate("document.querySelector('#lesson:not([hidden]) h2').textContent").unwrap();
        assert!(title.as_str().unwrap().starts_with(&format!("Lesson {lesson}: ")), "{title}");
        browser.evaluate(&format!("explorer.seek({total})")).unwrap();
        assert_eq!(number(&mut browser, "explorer.run('validate')"), 1, "lesson {lesson}");
    }
    // A link in the text leads to the next lesson.
    browser.evaluate("explorer.exhibit(3), document.getElementById('next-lesson').click()").unwrap();
    browser.wait_for("document.querySelector('#lesson h2').textContent.startsWith('Lesson 4: ')").unwrap();
    browser.open(&file, "?again#lesson=5").unwrap();
    let told = browser.evaluate("document.getElementById('told').textContent").unwrap();
    assert!(told.as_str().unwrap().starts_with("Lesson 5: frames that a CPU keeps at hand. "), "{told}");
    assert_eq!(browser.take_problems(), [""; 0]);
}
