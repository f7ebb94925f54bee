//! Where a request goes: one pure function over one table of routes and one snapshot.

pub mod facts;
pub mod gate;
pub mod table;
