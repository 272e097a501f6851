//! The specimens' kernel is in `tests/`: this library is empty, since cargo wants one.
#![no_std]
