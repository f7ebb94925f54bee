//! The association with a Portainer server: who may call, decided once for the whole cluster.
//!
//! In a Swarm it is a Swarm config, so that Raft decides between agents; on a standalone host it is a file. Both
//! hold records with rising numbers; the highest proved one counts. A loop reads again every few seconds, because
//! another agent, or the operator's `association reset`, may have written. The data directory's copy of a Swarm's
//! record only verifies while no manager can be asked. Nothing is published as open, held or closed before the
//! engine has said whether it is in a Swarm.

mod board;
pub mod file;
pub mod judge;
pub mod record;
