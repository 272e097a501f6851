//! The heap: objects that are allocated and freed, what would become of them, and slabs word by word.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt::Write;

use bifolio::allocator::{Call, HeapCall, Step};
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use bifolio::heap::SizeClass;
use quiz::counted;

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
            return Ok(format!("{} freed", counted(frames, "frames")));
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
        format!("{} freed", counted(freed as u64, "objects"))
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
        end.map_err(|error| error.to_string())?;
        Ok(text.trim_end().into())
    }

    /// Why a request was refused that has changed nothing: what each zone had to say when it was asked last.
    pub(crate) fn explain_refusal(&mut self, order: Order, gfp: Gfp) -> Said {
        let mut text = String::new();
        let cpu = self.cpu;
        let mut tell = |step| match step {
            Step::Slowly => text.clear(),
            Step::Emptied { .. } | Step::Reclaims | Step::Refused { .. } => {}
            step => _ = writeln!(text, "{step}"),
        };
        let end = self.world.look_as(cpu, |frames| frames.explain_allocate(order, gfp, &mut tell));
        end.map_err(|error| error.to_string())?;
        Ok(text.trim_end().into())
    }

    fn explain_free(&mut self, pfn: Pfn) -> Said {
        let mut text = String::new();
        let cpu = self.cpu;
        let mut tell = |step| _ = writeln!(text, "{step}");
        let end = self.world.look_as(cpu, |frames| frames.explain_free(pfn, &mut tell));
        end.map_err(|error| error.to_string())?;
        Ok(text.trim_end().into())
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
        let _ = writeln!(text, "{}", next.source);
        if let Some((start, slab)) = self.world.slab_at(address) {
            slab.tell_slot(start, next.slot, address, &mut |words| _ = writeln!(text, "{words}"));
        }
        Ok(text.trim_end().into())
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
