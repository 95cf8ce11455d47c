//! The embedded backend (API skeleton).
use bytes::Bytes;

use crate::{
    address::EmbeddedAddress,
    answer::Answer,
    backend::{Backend, BackendTransaction},
    error::{Error, OpenError, StoreError},
    options::RunOptions,
};

pub(crate) struct Embedded;

impl Embedded {
    pub(crate) fn open(address: &EmbeddedAddress) -> Result<Self, OpenError> {
        Err(OpenError::Locked { dir: address.dir.clone() })
    }
}

impl Backend for Embedded {
    fn begin(&self, _options: &RunOptions) -> Box<dyn BackendTransaction> {
        unreachable!("never open")
    }

    fn get(&self, _key: &[u8]) -> Answer<'_, Option<Bytes>> {
        Err(Error::from(StoreError::Closed)).into()
    }
}
