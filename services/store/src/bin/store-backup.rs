//! Copies an embedded store while a service uses it.
//!
//! The service makes the copy, because only one process opens a directory; without a service this
//! program does. The rest of the work is in `Store::backup_of`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::{error::Error, path::Path, process::ExitCode};

use store::{Store, StoreAddress};

const USAGE: &str = "usage: store-backup embedded:DIR TO

Copies the store in DIR to the new directory TO, as it is at one moment, while its
service runs or not. TO is a store: give `--store embedded:TO` to start from it.

For `fdb:CLUSTER_FILE` use FoundationDB's `fdbbackup`; services/store/README.md says how.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let [address, to] = &args[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let address = match address.parse::<StoreAddress>() {
        Ok(address) => address,
        Err(error) => {
            eprintln!("store-backup: {error}");
            return ExitCode::from(2);
        }
    };
    match Store::backup_of(&address, Path::new(to)) {
        Ok(backup) => {
            println!("{} keys, {} bytes, version {}, in {to}", backup.rows, backup.bytes, backup.version);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
            eprintln!("store-backup: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}
