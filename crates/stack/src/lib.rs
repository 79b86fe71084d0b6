//! A deployment in an account of AWS: what its template made, by the outputs of its stack, what was noted of its
//! regions, how it is put there, and the executions that carry its transfers out. Only here the SDKs of
//! `CloudFormation` and Step Functions are known.

mod deploy;
mod executions;
mod outputs;
pub mod region;

pub use deploy::{Deploy, Network};
pub use executions::{StateMachine, Tasks};
pub use outputs::{Outputs, Place};
