//! loom's atomics, made when they are first used: the crate makes its own in constants, of which loom knows nothing.
//!
//! They must be made anew in each run of a model, so none in a static can be used in one. And to loom, an atomic is made by
//! the thread that uses it first, and no other may use it before it has heard of that: so a model [primes](prime) what it shares
//! before it has a second thread.

extern crate std;

use core::ops::Deref;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::OnceLock;

pub(crate) use core::sync::atomic::{self as fixed, Ordering};

/// Stands for the barrier that [`Cpu::synchronize`](crate::cpu::Cpu::synchronize) makes the other side pass.
pub(crate) fn compiler_fence(_: Ordering) {
    loom::sync::atomic::fence(SeqCst);
}

/// To loom a store and a swap by another CPU, which has read what was there before, may come in any order. Two swaps may not.
pub(crate) fn store_last(word: &AtomicU64, value: u64, order: Ordering) {
    word.swap(value, order);
}

macro_rules! modelled {
    ($($name:ident $(<$T:ident>)?),*) => {$(
        #[derive(Debug, Default)]
        #[allow(unreachable_pub, reason = "a gate, which is public, names one of them")]
        pub struct $name $(<$T>)? {
            initial: fixed::$name $(<$T>)?,
            modelled: OnceLock<loom::sync::atomic::$name $(<$T>)?>,
        }

        impl $(<$T>)? $name $(<$T>)? {
            /// What loom knows.
            pub(crate) fn known(&self) -> &<Self as Deref>::Target {
                self
            }
        }

        impl $(<$T>)? Deref for $name $(<$T>)? {
            type Target = loom::sync::atomic::$name $(<$T>)?;

            fn deref(&self) -> &Self::Target {
                self.modelled.get_or_init(|| Self::Target::new(self.initial.load(Relaxed)))
            }
        }
    )*};
}

modelled!(AtomicBool, AtomicPtr<T>, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize);

/// Makes these atomics.
macro_rules! prime {
    ($($atomic:expr),* $(,)?) => {{
        $(let _ = $atomic.known();)*
    }};
}
pub(crate) use prime;

macro_rules! constant {
    ($($name:ident of $value:ty),*) => {$(
        impl $name {
            pub(crate) const fn new(value: $value) -> Self {
                Self { initial: fixed::$name::new(value), modelled: OnceLock::new() }
            }
        }
    )*};
}

constant!(AtomicBool of bool, AtomicU8 of u8, AtomicU16 of u16, AtomicU32 of u32, AtomicU64 of u64, AtomicUsize of usize);

impl<T> AtomicPtr<T> {
    pub(crate) const fn new(value: *mut T) -> Self {
        Self { initial: fixed::AtomicPtr::new(value), modelled: OnceLock::new() }
    }
}
