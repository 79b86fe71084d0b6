//! Object stores behind one trait: local disk and S3, with one conformance suite that every
//! backend passes.

pub mod conformance;
pub mod local;
pub mod open;
pub mod payload;
pub mod retag;
pub mod s3;
pub mod several;
pub mod store;

pub use payload::Payload;
pub use store::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListPage, ListRequest, Lister,
    ObjectReader, OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, PutStream,
    ReadRequest, Staged, Store, UploadRequest, UploadToken,
};
