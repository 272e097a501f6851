//! Lab 5: a cache for each CPU.

use labs::caches::{BATCH, Batches, Caches, Cpu};
use labs::{BadFree, Frame, Refused};

/// A batch's words: which frames are free, as its CPU knows. Nobody else writes to it.
const FREE: usize = 0;
/// Which frames others have freed, and its CPU has not seen yet.
const REMOTE: usize = 1;
/// The CPU that has it, plus 1; 0 if it is nobody's.
const OWNER: usize = 2;

/// A CPU's words: its batches with a frame in `FREE`. Nobody else writes to it.
const READY: usize = 0;
/// Its batches into which others have freed, and perhaps some more.
const NOTES: usize = 1;

/// All frames of a batch.
const ALL: u64 = (1 << BATCH) - 1;

/// Caches of frames: all that there is of them lies in the words.
pub struct Piece {
    batches: Batches,
}

impl Piece {
    /// Has these frames of one of this CPU's batches be the free ones. If that is all of them, it gives the batch back.
    fn set_free(&self, cpu: &dyn Cpu, batch: usize, free: u64) {
        let (words, own) = (self.batches.of_batch(batch), self.batches.of_cpu(cpu.number()));
        let ready = cpu.load(&own[READY]) & !(1 << batch);
        if free == ALL {
            cpu.store(&own[READY], ready);
            cpu.store(&words[FREE], 0);
            cpu.store(&words[OWNER], 0);
            return self.batches.give_back(cpu, batch);
        }
        cpu.store(&words[FREE], free);
        cpu.store(&own[READY], if free == 0 { ready } else { ready | 1 << batch });
    }

    /// Takes over what others have freed in this CPU's batches.
    fn collect(&self, cpu: &dyn Cpu) {
        let mut notes = cpu.swap(&self.batches.of_cpu(cpu.number())[NOTES], 0);
        while notes != 0 {
            let batch = notes.trailing_zeros() as usize;
            notes &= notes - 1;
            let words = self.batches.of_batch(batch);
            // The note may be older than what the batch is now.
            if cpu.load(&words[OWNER]) == cpu.number() as u64 + 1 {
                let freed = cpu.swap(&words[REMOTE], 0);
                let free = cpu.load(&words[FREE]) | freed;
                self.set_free(cpu, batch, free);
            }
        }
    }

    /// One of this CPU's batches with a free frame. It takes one if there is none.
    fn ready(&self, cpu: &dyn Cpu) -> Option<usize> {
        let own = self.batches.of_cpu(cpu.number());
        if cpu.load(&own[READY]) == 0 {
            self.collect(cpu);
        }
        let ready = cpu.load(&own[READY]);
        if ready != 0 {
            return Some(ready.trailing_zeros() as usize);
        }
        let batch = self.batches.take(cpu)?;
        cpu.store(&self.batches.of_batch(batch)[FREE], ALL);
        cpu.store(&self.batches.of_batch(batch)[OWNER], cpu.number() as u64 + 1);
        Some(batch)
    }
}

impl Caches for Piece {
    fn new(batches: Batches) -> Self {
        Self { batches }
    }

    fn allocate(&self, cpu: &dyn Cpu) -> Result<Frame, Refused> {
        let _masked = cpu.mask();
        let batch = self.ready(cpu).ok_or(Refused::OutOfMemory)?;
        let free = cpu.load(&self.batches.of_batch(batch)[FREE]);
        self.set_free(cpu, batch, free & (free - 1));
        Ok(self.batches.frame(batch, free.trailing_zeros()))
    }

    fn free(&self, cpu: &dyn Cpu, frame: Frame) -> Result<(), BadFree> {
        let (batch, bit) = self.batches.place(frame).ok_or(BadFree::NotMemory)?;
        let words = self.batches.of_batch(batch);
        let _in_peace = cpu.mask();
        let owner = cpu.load(&words[OWNER]);
        let free = cpu.load(&words[FREE]);
        if owner == 0 || (free | cpu.load(&words[REMOTE])) & 1 << bit != 0 {
            return Err(BadFree::AlreadyFree);
        }
        if owner == cpu.number() as u64 + 1 {
            self.set_free(cpu, batch, free | 1 << bit);
        } else {
            cpu.set(&words[REMOTE], 1 << bit);
            cpu.set(&self.batches.of_cpu(owner as usize - 1)[NOTES], 1 << batch);
        }
        Ok(())
    }

    fn drain(&self, cpu: &dyn Cpu) {
        let _while_draining = cpu.mask();
        self.collect(cpu);
    }
}

/// The first test, of a piece that has three batches, with two CPUs. `make lab N=5` runs it, and has more.
pub fn first_test(piece: Piece, [one, two]: [&dyn Cpu; 2]) {
    let frame = piece.allocate(one).expect("there are batches");
    let next = piece.allocate(one).expect("it has a batch");
    assert_eq!(frame / BATCH, next / BATCH, "both are of the batch that it took first");
    assert_ne!(piece.allocate(two).expect("there are more") / BATCH, frame / BATCH, "each CPU has batches of its own");
    assert_eq!(piece.free(two, frame), Ok(()), "any CPU may free it");
    assert_eq!(piece.free(two, frame), Err(BadFree::AlreadyFree));
    assert_eq!(piece.free(one, next), Ok(()));
    piece.drain(one);
    assert_eq!(piece.allocate(two).map(|third| third / BATCH), Ok(frame / BATCH + 1), "each goes on with its own");
}
