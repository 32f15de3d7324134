//! Tests of the emulator itself, with a small program in place of functions.

mod child;
mod life;
mod stack;
mod story;
