//! What becomes of a store when what is below it fails: power that goes in the middle of any write, disks that are full or
//! do not sync, files that were cut or overwritten.

// All of this is test code.
#![allow(clippy::unwrap_used)]

mod broken;
mod damage;
mod disk;
mod kill;
mod power;
mod world;
