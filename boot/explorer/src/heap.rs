//! The heap: objects that are allocated and freed, what would become of them, and slabs word by word.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt::Write;

use bifolio::allocator::{Allocation, Call, Freeing, HeapCall};
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use bifolio::heap::{SizeClass, SlotSource};

use crate::app::App;
use crate::command::{Said, gfp, number, order_of};

/// What a kernel asks for, for so many bytes.
fn layout(bytes: u64) -> Result<Layout, String> {
    let bytes = usize::try_from(bytes).ok().and_then(|bytes| Layout::from_size_align(bytes, 8).ok());
    bytes.ok_or_else(|| "that is more than there are addresses".to_string())
}

impl App {
    /// Allocates objects.
    pub(crate) fn kmalloc(&mut self, bytes: u64, count: u64) -> Said {
        let class = SizeClass::of(layout(bytes)?);
        let mut last = None;
        for nth in 0..count {
            let object = match class {
                Some(class) => self
                    .perform(Call::Heap(HeapCall::Allocate { cache: class.number(), size: bytes }))
                    .map(|at| (at, 0)),
                None => self.kmalloc_large(bytes.div_ceil(FRAME_SIZE)),
            };
            let Some(object) = object else { return Err(format!("{nth} objects; then there was no memory")) };
            self.objects.push(object);
            last = Some(object.0);
        }
        let Some(last) = last else { return Ok("no object was asked for".into()) };
        let name = class.map_or("kmalloc-large", SizeClass::name);
        Ok(format!("{count} of {name}; the last at {last:#x}"))
    }

    /// An object of so many frames: its address, and their number.
    fn kmalloc_large(&mut self, frames: u64) -> Option<(u64, u64)> {
        let pfn = self.perform(Call::AllocateExact { frames, align: Order::ZERO, gfp: Gfp::KERNEL })?;
        let (address, bytes) = (Pfn::new(pfn).address(), frames * FRAME_SIZE);
        self.perform(Call::Heap(HeapCall::OpenRun { address, bytes, align: 8 })).map(|_| (address, frames))
    }

    /// Frees an object, or says that none starts there.
    pub(crate) fn kfree(&mut self, address: u64) -> Said {
        let place = self.objects.iter().position(|object| object.0 == address);
        let frames = place.map_or(0, |place| self.objects.swap_remove(place).1);
        if frames > 0 {
            let call = Call::Heap(HeapCall::CloseRun { address, bytes: frames * FRAME_SIZE });
            self.perform(call).ok_or_else(|| format!("there is no large object at {address:#x} any more"))?;
            let first = Pfn::containing(address);
            for (pfn, order) in PfnRange::new(first, first.offset(frames)).blocks() {
                self.perform(Call::Free { pfn, order });
            }
            return Ok(format!("{frames} frames freed"));
        }
        match self.perform(Call::Heap(HeapCall::Free { address, cache: None })) {
            Some(_) => Ok(format!("freed {address:#x}")),
            None => Err(self.why_not(address)),
        }
    }

    /// Why an address is no object to be freed.
    fn why_not(&self, address: u64) -> String {
        let Some((start, slab)) = self.world.slab_at(address) else {
            return format!("{address:#x} is nothing of the heap's");
        };
        let (offset, size) = ((address - start) as usize, slab.info.object_size);
        let slot = offset / size;
        if offset % size == 0 && slot < slab.info.slots {
            return format!("slot {slot} of {} at {start:#x} is free already (double free)", slab.info.cache);
        }
        format!("{address:#x} is inside slot {slot} of {} at {start:#x}", slab.info.cache)
    }

    pub(crate) fn kfree_all(&mut self) -> String {
        let objects: Vec<u64> = self.objects.iter().map(|object| object.0).collect();
        let freed = objects.iter().filter(|address| self.kfree(**address).is_ok()).count();
        format!("{freed} objects freed")
    }

    /// Tells what a command would do.
    pub(crate) fn explain(&mut self, words: &[&str]) -> Said {
        match words {
            ["alloc", order, flags @ ..] => self.explain_alloc(order_of(order)?, gfp(flags)?),
            ["free", pfn] => self.explain_free(Pfn::new(number(pfn)?)),
            ["kmalloc", bytes] => self.explain_kmalloc(number(bytes)?),
            _ => Err("usage: explain alloc <order> [flags], explain free <pfn> or explain kmalloc <bytes>".into()),
        }
    }

    fn explain_alloc(&mut self, order: Order, gfp: Gfp) -> Said {
        let mut text = String::new();
        let cpu = self.cpu;
        let mut tell = |step| _ = writeln!(text, "{step}");
        let end = self.world.look_as(cpu, |frames| frames.explain_allocate(order, gfp, &mut tell));
        match end.map_err(|error| error.to_string())? {
            Allocation::Served(pfn) => text += &format!("so order {order} is served: {pfn}"),
            Allocation::Short { cached, .. } if cached > 0 => {
                text += &format!("so order {order} is refused, unless the {cached} frames in CPUs' pages help");
            }
            Allocation::Short { .. } => text += &format!("so order {order} is refused"),
        }
        Ok(text)
    }

    fn explain_free(&mut self, pfn: Pfn) -> Said {
        let mut text = String::new();
        let cpu = self.cpu;
        let mut tell = |step| _ = writeln!(text, "{step}");
        let end = self.world.look_as(cpu, |frames| frames.explain_free(pfn, &mut tell));
        match end.map_err(|error| error.to_string())? {
            Freeing::Free(first, order) => text += &format!("so {pfn} becomes free, in the block {first}+{order}"),
            Freeing::Held(cpu) => text += &format!("so CPU {cpu} has {pfn} at hand"),
        }
        Ok(text)
    }

    fn explain_kmalloc(&mut self, bytes: u64) -> Said {
        let layout = layout(bytes)?;
        let Some(class) = SizeClass::of(layout) else {
            return self
                .explain_alloc(Order::covering(bytes.div_ceil(FRAME_SIZE)).ok_or("more than any block")?, Gfp::KERNEL);
        };
        let mut text =
            format!("{bytes} bytes are of the class {}, with slots of {} bytes\n", class.name(), class.size());
        let Some((address, next)) = self.world.next_slot(self.cpu, layout) else {
            text += "none of this CPU's slabs is known to have a free slot: it takes over what others have freed, or opens a slab";
            return Ok(text);
        };
        let (word, bit) = (next.slot / 64, next.slot % 64);
        text += match next.source {
            SlotSource::InHand => "slots of one word are in hand",
            SlotSource::NextWord => "nothing is in hand: the next word of the current slab with free slots is taken up",
            SlotSource::Partial => "the current slab is full: the fullest of the others that are not follows",
            SlotSource::Empty => "the current slab is full, and an empty one follows",
            SlotSource::Freed => "all slabs are full as far as is known, but in one some slots were freed",
        };
        if let Some((start, slab)) = self.world.slab_at(address) {
            let words = slab.words[word];
            let _ = write!(
                text,
                "\nword {word} of the slab at {start:#x}: free {:#018x}, freed by others {:#018x}",
                words.free, words.remote
            );
        }
        Ok(text + &format!("\nso slot {} is served, bit {bit}, the lowest: {address:#x}", next.slot))
    }

    /// The slab that holds a frame, as JSON; `null` if there is none.
    pub fn slab(&self, pfn: u64) -> String {
        let Some((start, slab)) = self.world.slab_at(Pfn::new(pfn).address()) else { return "null".into() };
        let info = slab.info;
        let words = if info.order.is_some() { info.slots.div_ceil(64) } else { 0 };
        let words: Vec<String> = slab.words[..words]
            .iter()
            .map(|word| format!("[\"{:016x}\",\"{:016x}\",\"{:016x}\"]", word.free, word.remote, word.in_hand))
            .collect();
        let free: u32 = slab.words.iter().map(|word| (word.free | word.remote).count_ones()).sum();
        let owner = slab.cpu.map_or("all CPUs".into(), |cpu| format!("CPU {cpu}"));
        format!(
            "{{\"cache\":\"{}\",\"start\":\"{start:#x}\",\"slots\":{},\"size\":{},\"free\":{free},\"owner\":\"{owner}\",\"words\":[{}]}}",
            info.cache,
            info.slots,
            info.object_size,
            words.join(",")
        )
    }
}
