//! Real recorded answers, a scripted DNS server, and the loops in front of a scripted engine.

mod addresses;
mod called;
mod changing;
mod loops;
mod names;
mod recorded;
mod superseded;
