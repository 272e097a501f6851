//! The commands that use the heap as a program does. What they allocated is noted, so that the shell frees nothing else; what
//! is not allocated is for the heap to name.

use super::error::Error;
use super::state::{Object, Shell};
use crate::memory::heap::HEAP;
use crate::memory::vmalloc;
use crate::println;
use bifolio::heap::{HeapError, SizeClass};
use core::alloc::Layout;
use core::ptr::{self, NonNull};
use line::{WordError, counted, expect, number};
use x86_64::VirtAddr;

/// After how many objects it is looked whether Ctrl-C was pressed.
const LOOK: u64 = 256;
/// So many addresses are shown of many objects.
const SHOWN: u64 = 8;

impl Object {
    /// Says where the object is, and in what.
    fn show(&self) {
        let address = self.address.as_ptr();
        let usable = HEAP.object_size(self.address).unwrap_or(0);
        match SizeClass::of(self.layout) {
            Some(class) => println!("{}, {usable} bytes: kfree {address:p}", class.name()),
            None if vmalloc::contains(VirtAddr::from_ptr(address)) => {
                println!("kmalloc-large, {} kB, mapped: kfree {address:p}", usable / 1024);
            }
            None => println!("kmalloc-large, {} kB: kfree {address:p}", usable / 1024),
        }
    }
}

pub(super) fn kmalloc<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the number of bytes"], 1)?;
    let layout = layout(words[0])?;
    let count = words.get(1).map_or(Ok(1), |word| number(word))?;
    if count == 0 {
        println!("no object was asked for");
    }
    for nth in 0..count {
        if nth % LOOK == LOOK - 1 {
            shell.go_on()?;
        }
        shell.objects.try_reserve(1).map_err(|_| Error::NoRoomToNote)?;
        if nth == 0 {
            shell.narrate_kmalloc(layout)?;
        }
        let address = HEAP.allocate(layout).ok_or(Error::NoHeap(layout.size()))?;
        let object = Object { address, layout };
        shell.objects.push(object);
        if nth < SHOWN {
            object.show();
        }
    }
    if count > SHOWN {
        println!("and {} more; 'kfree all' frees every object", count - SHOWN);
    }
    Ok(())
}

pub(super) fn krealloc<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the address", "the number of bytes"], 0)?;
    let nth = shell.object_at(words[0])?;
    let (old, wanted) = (shell.objects[nth], layout(words[1])?);
    // SAFETY: the object is the shell's, which never looks into it, and notes where it is now.
    let address = unsafe { HEAP.reallocate(old.address, old.layout, wanted.size()) }?;
    let address = address.ok_or(Error::NoHeap(wanted.size()))?;
    shell.objects[nth] = Object { address, layout: wanted };
    println!("{}", if address == old.address { "where it was:" } else { "moved:" });
    shell.objects[nth].show();
    Ok(())
}

pub(super) fn kfree<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the address"], 0)?;
    if words[0] == "all" {
        let count = shell.objects.len();
        while let Some(object) = shell.objects.pop() {
            // SAFETY: the object is the shell's, and nobody uses it.
            unsafe { HEAP.free(object.address, object.layout) }?;
        }
        println!("freed {}", counted(count as u64, "objects"));
        return Ok(());
    }
    let nth = shell.object_at(words[0])?;
    let object = shell.objects[nth];
    // SAFETY: the object is the shell's, and nobody uses it.
    unsafe { HEAP.free(object.address, object.layout) }?;
    shell.objects.swap_remove(nth);
    println!("freed {} bytes at {:p}", object.layout.size(), object.address);
    Ok(())
}

pub(super) fn shrink<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    println!("{} went back to the page allocator", counted(HEAP.shrink(), "frames"));
    Ok(())
}

impl Shell {
    /// Where the objects start that the shell has on the heap.
    pub fn objects(&self) -> impl Iterator<Item = NonNull<u8>> {
        self.objects.iter().map(|object| object.address)
    }

    /// Which of the shell's objects starts at this address.
    fn object_at<'a>(&self, word: &'a str) -> Result<usize, Error<'a>> {
        let address = number(word)? as usize;
        let known = self.objects.iter().position(|object| object.address.as_ptr().addr() == address);
        known.ok_or_else(|| {
            let error = NonNull::new(ptr::without_provenance_mut(address))
                .map_or(Err(HeapError::Foreign { address }), |object| HEAP.object_size(object));
            error.map_or_else(Error::Heap, |_| Error::NotTheShellsObject(address))
        })
    }
}

/// What the kernel would ask for, for so many bytes.
pub(super) fn layout(word: &str) -> Result<Layout, Error<'_>> {
    let bytes = number(word)?.try_into().ok();
    bytes
        .and_then(|bytes| Layout::from_size_align(bytes, align_of::<u64>()).ok())
        .ok_or(WordError::TooLarge(word).into())
}
