//! core's atomics, before each use of which shuttle may let another CPU go on. They are just as large, so that they can lie
//! wherever the others do; shuttle's own are not.

use core::ops::Deref;
use core::time::Duration;

pub(crate) use core::sync::atomic::{Ordering, compiler_fence};

macro_rules! scheduled {
    ($($name:ident $(<$T:ident>)? of $value:ty),*) => {$(
        #[derive(Debug, Default)]
        #[allow(unreachable_pub, reason = "a gate, which is public, names one of them")]
        #[repr(transparent)]
        pub struct $name $(<$T>)? (core::sync::atomic::$name $(<$T>)?);

        impl $(<$T>)? $name $(<$T>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }
        }

        impl $(<$T>)? Deref for $name $(<$T>)? {
            type Target = core::sync::atomic::$name $(<$T>)?;

            fn deref(&self) -> &Self::Target {
                // To shuttle, to sleep is to give others a turn, and no more.
                shuttle::thread::sleep(Duration::ZERO);
                &self.0
            }
        }
    )*};
}

scheduled!(
    AtomicBool of bool,
    AtomicPtr<T> of *mut T,
    AtomicU8 of u8,
    AtomicU16 of u16,
    AtomicU32 of u32,
    AtomicU64 of u64,
    AtomicUsize of usize
);
