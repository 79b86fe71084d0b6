//! A deployment in an account of AWS: what its template made, by the outputs of its stack, what was noted of its
//! regions, how it is put there, and the executions that carry its transfers out. Only here the SDKs of
//! `CloudFormation`, Step Functions and Scheduler are known.

mod deploy;
mod doctor;
mod executions;
mod launches;
mod outputs;
mod outside;
pub mod region;
mod said;
mod schedules;
mod undeploy;

pub use deploy::{Deploy, Network};
pub use doctor::{Check, doctor, reaches};
pub use executions::{StateMachine, Tasks};
pub use launches::{Launches, going_on};
pub use outputs::{Outputs, Place};
pub use outside::outside;
pub use said::said;
pub use schedules::{Scheduled, Schedules, Times};
pub use undeploy::{CLOSED, Undeploy};
