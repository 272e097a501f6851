//! What is written is read again, and what is not a trace is an error with its place.

use bifolio::allocator::{Call, HeapCall};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::{Region, RegionKind};
use proptest::prelude::*;
use trace::{Broken, Defect, Encoder, Header, MAGIC, Record, Sink};

fn order() -> impl Strategy<Value = Order> {
    (0_u8..=10).prop_map(|order| Order::new(order).unwrap())
}

fn gfp() -> impl Strategy<Value = Gfp> {
    prop_oneof![
        Just(Gfp::KERNEL),
        Just(Gfp::ATOMIC),
        Just(Gfp::KERNEL | Gfp::MOVABLE),
        any::<u32>().prop_map(Gfp::from_bits_retain),
    ]
}

fn pfn() -> impl Strategy<Value = Pfn> {
    prop_oneof![any::<u64>(), 0_u64..1 << 20].prop_map(Pfn::new)
}

fn range() -> impl Strategy<Value = PfnRange> {
    (0_u64..1 << 40, 0_u64..1 << 20)
        .prop_map(|(start, frames)| PfnRange::new(Pfn::new(start), Pfn::new(start + frames)))
}

fn heap_call() -> impl Strategy<Value = HeapCall> {
    let bytes = 0_u64..1 << 40;
    prop_oneof![
        (any::<u16>(), any::<u64>()).prop_map(|(cache, size)| HeapCall::Allocate { cache, size }),
        (any::<u64>(), any::<Option<u16>>()).prop_map(|(address, cache)| HeapCall::Free { address, cache }),
        (any::<u64>(), bytes.clone(), 0..64).prop_map(|(address, bytes, align)| HeapCall::OpenRun {
            address,
            bytes,
            align: 1_u64 << align
        }),
        (any::<u64>(), bytes.clone()).prop_map(|(address, bytes)| HeapCall::CloseRun { address, bytes }),
        any::<u64>().prop_map(|address| HeapCall::TakeRun { address }),
        (any::<u64>(), prop::option::of(bytes.clone()))
            .prop_map(|(address, bytes)| HeapCall::PutRun { address, bytes }),
        order().prop_map(|order| HeapCall::Slab { order }),
        bytes.prop_map(|size| HeapCall::NewCache { size }),
        any::<u16>().prop_map(|cache| HeapCall::EndCache { cache }),
        any::<u16>().prop_map(|cache| HeapCall::SetAside { cache }),
        prop::sample::select(vec![HeapCall::Shrink, HeapCall::Retire, HeapCall::Prepare, HeapCall::Settle]),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (order(), gfp()).prop_map(|(order, gfp)| Call::Allocate { order, gfp }),
        (pfn(), order()).prop_map(|(pfn, order)| Call::Free { pfn, order }),
        (pfn(), order(), order()).prop_map(|(pfn, order, into)| Call::Split { pfn, order, into }),
        (any::<u64>(), order(), gfp()).prop_map(|(frames, align, gfp)| Call::AllocateExact { frames, align, gfp }),
        (any::<u64>(), 0..64, gfp()).prop_map(|(frames, align, gfp)| Call::AllocateContiguous {
            frames,
            align: 1_u64 << align,
            gfp
        }),
        (any::<u64>(), 0..64, gfp()).prop_map(|(frames, align, gfp)| Call::AllocateRun {
            frames,
            align: 1_u64 << align,
            gfp
        }),
        (range(), gfp()).prop_map(|(range, gfp)| Call::AllocateRange { range, gfp }),
        (range(), any::<u64>(), gfp()).prop_map(|(range, frames, gfp)| Call::Resize { range, frames, gfp }),
        heap_call().prop_map(Call::Heap),
        range().prop_map(Call::Isolate),
        range().prop_map(Call::Unisolate),
        range().prop_map(Call::Add),
        prop::sample::select(vec![
            Call::Drain,
            Call::Decay,
            Call::Balance,
            Call::UnreserveHighAtomic,
            Call::AddShrinker,
            Call::RemoveShrinker,
            Call::Settle(ZoneKind::Dma),
            Call::Settle(ZoneKind::Normal),
        ]),
    ]
}

fn region() -> impl Strategy<Value = Region> {
    (any::<u64>(), any::<u64>(), prop::sample::select(RegionKind::ALL.to_vec())).prop_map(|(start, end, kind)| Region {
        start,
        end,
        kind,
    })
}

/// An operation, with what a shrinker does in it.
type Operation = (usize, Call, Option<u64>, Vec<(u64, Vec<(Call, Option<u64>)>)>);

fn returned() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(0_u64..1 << 50)
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let shrunk = (0_u64..100, prop::collection::vec((call(), returned()), 0..3));
    let shrinkers = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(shrunk, 1..3)];
    let cpu = prop_oneof![8 => 0_usize..4, 1 => 0_usize..5000];
    prop::collection::vec((cpu, call(), returned(), shrinkers), 0..40)
}

/// What a free returns is that it was done.
fn told(call: Call, returned: Option<u64>) -> Option<u64> {
    if matches!(call, Call::Free { .. }) { returned.map(|_| 0) } else { returned }
}

fn write(regions: &[Region], operations: &[Operation]) -> (Vec<u8>, Vec<Record>) {
    let (mut bytes, mut encoder, mut records) = (Vec::new(), Encoder::new(), Vec::new());
    trace::write_header(&mut bytes, 7, regions.iter().copied());
    for (cpu, call, returned, shrinkers) in operations {
        let (cpu, call, returned) = (*cpu, *call, told(*call, *returned));
        encoder.begin(&mut bytes, cpu, call);
        if shrinkers.is_empty() {
            encoder.end(&mut bytes, returned);
            records.push(Record::Operation { cpu, call, returned });
            continue;
        }
        records.push(Record::Opened { cpu, call });
        for (frames, done) in shrinkers {
            let shrink = Call::Shrink { frames: *frames };
            encoder.begin(&mut bytes, cpu, shrink);
            if done.is_empty() {
                encoder.end(&mut bytes, Some(*frames));
                records.push(Record::Operation { cpu, call: shrink, returned: Some(*frames) });
                continue;
            }
            records.push(Record::Opened { cpu, call: shrink });
            for &(call, returned) in done {
                let returned = told(call, returned);
                encoder.begin(&mut bytes, cpu, call);
                encoder.end(&mut bytes, returned);
                records.push(Record::Operation { cpu, call, returned });
            }
            encoder.end(&mut bytes, Some(*frames));
            records.push(Record::Closed(Some(*frames)));
        }
        encoder.end(&mut bytes, returned);
        records.push(Record::Closed(returned));
    }
    encoder.hash(&mut bytes, 0x0123_4567_89ab_cdef);
    records.push(Record::Hash(0x0123_4567_89ab_cdef));
    encoder.lost(&mut bytes, 12);
    records.push(Record::Lost(12));
    (bytes, records)
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, Broken> {
    let (_, mut place) = Header::read(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = place.next(bytes)? {
        records.push(record);
    }
    Ok(records)
}

proptest! {
    #[test]
    fn what_is_written_is_read(regions in prop::collection::vec(region(), 0..9), operations in operations()) {
        let (bytes, records) = write(&regions, &operations);
        let (header, _) = Header::read(&bytes).unwrap();
        prop_assert_eq!(header.cpus, 7);
        prop_assert_eq!(header.map().collect::<Vec<_>>(), regions);
        prop_assert_eq!(read(&bytes).unwrap(), records);
    }

    #[test]
    fn a_trace_that_is_cut_is_shorter_or_an_error_at_its_end(operations in operations(), cut in any::<prop::sample::Index>()) {
        let (bytes, records) = write(&[], &operations);
        let cut = &bytes[..cut.index(bytes.len())];
        match read(cut) {
            Ok(read) => prop_assert_eq!(&records[..read.len()], &read[..]),
            Err(Broken { defect: Defect::NotATrace, offset }) => prop_assert!(cut.len() < MAGIC.len() && offset == 0),
            Err(broken) => prop_assert_eq!(broken, Broken { defect: Defect::Cut, offset: cut.len() }),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_at_a_place_in_them(records in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = Vec::new();
        trace::write_header(&mut bytes, 1, std::iter::empty());
        bytes.put(&records);
        if let Err(broken) = read(&bytes) {
            prop_assert!(broken.offset <= bytes.len(), "{}", broken);
        }
        let _ = read(&records);
    }
}

#[test]
fn what_is_no_trace_is_named() {
    assert_eq!(read(b"").unwrap_err().to_string(), "this is no trace of Bifolio, at byte 0x0");
    assert_eq!(read(b"\x7fELF\x02\x01\x01\0\0").unwrap_err().to_string(), "this is no trace of Bifolio, at byte 0x0");
    assert_eq!(read(b"BIFOLIO\x07\x01\0").unwrap_err().to_string(), "a trace of version 7, and not 2, at byte 0x7");
    let with = |records: &[u8]| read(&[&MAGIC[..], b"\x01\x00", records].concat()).unwrap_err().to_string();
    assert_eq!(with(b"\x98\x01\xb7"), "no record begins with 0xb7, at byte 0xc");
    assert_eq!(with(b"\xa3\x05"), "a record that does not belong here, at byte 0xa");
    assert_eq!(with(b"\x90\x0b\x00\x00"), "0xb cannot be, at byte 0xb");
    assert_eq!(with(b"\xa0\x98"), "the trace ends in the middle of a record, at byte 0xc");
}
