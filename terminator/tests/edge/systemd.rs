//! What a service manager such as systemd passes and is told (`sd_listen_fds(3)`, `sd_notify(3)`).

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::PATIENCE;
use crate::client::Client;
use crate::terminator::{Terminator, command};

/// Listens at `NOTIFY_SOCKET`.
struct Told(UnixDatagram);

impl Told {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Waits for a message that has this line.
    fn until(&self, line: &str) {
        let mut packet = [0; 4096];
        loop {
            let len = self.0.recv(&mut packet).unwrap();
            let text = std::str::from_utf8(&packet[..len]).unwrap();
            if text.lines().any(|told| told == line) {
                return;
            }
        }
    }
}

#[test]
fn the_service_manager_is_told_of_start_watchdog_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify.sock");
    let told = Told::at(&socket);
    let flags = ["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bus-listen", "inproc://a"];
    let mut started = command(&flags);
    started.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "100000");
    let mut terminator = Terminator::spawn(dir, started);
    told.until("READY=1");
    told.until("WATCHDOG=1");
    told.until("WATCHDOG=1");
    terminator.signal("TERM");
    told.until("STOPPING=1");
    assert_eq!(terminator.end_of().0.code(), Some(0));
}

#[test]
fn a_successor_becomes_the_main_process() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify.sock");
    let handover = dir.path().join("handover.sock");
    let told = Told::at(&socket);
    let flags = ["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bus-listen", "inproc://a"];
    let flags = [&flags[..], &["--handover", handover.to_str().unwrap()]].concat();
    let mut started = command(&flags);
    started.env("NOTIFY_SOCKET", &socket);
    let mut old = Terminator::spawn(dir, started);
    told.until("READY=1");
    let new = Terminator::spawn(tempfile::tempdir().unwrap(), command(&flags));
    told.until(&format!("MAINPID={}", new.id()));
    assert_eq!(old.end_of().0.code(), Some(0));
}

/// Starts with `listener` as the service manager passes it: descriptor 3, named `name`.
fn activated(listener: impl Into<OwnedFd>, name: &str, flags: &[&str]) -> Command {
    let mut started = Command::new("/bin/sh");
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
    started.args(["-c", script, env!("CARGO_BIN_EXE_terminator")]).args(flags).env_clear();
    started.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    started.stdin(Stdio::from(listener.into())).stdout(Stdio::null()).stderr(Stdio::piped());
    started
}

const OTHERS: [&str; 4] = ["--bus-listen", "inproc://a", "--settle", "0s"];

#[test]
fn a_passed_socket_is_found_by_its_name_or_its_address() {
    for (name, http) in [("http", "127.0.0.1:1"), ("stack.socket", "")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let http = if http.is_empty() { &address } else { http };
        let flags = [&["--http", http, "--admin", "127.0.0.1:0"], &OTHERS[..]].concat();
        let started = activated(listener, name, &flags);
        let mut terminator = Terminator::spawn(tempfile::tempdir().unwrap(), started);
        assert_eq!(terminator.http.join(","), address);
        assert_eq!(Client::connect(&address).get("/").status, 404);
        terminator.signal("TERM");
        assert_eq!(terminator.end_of().0.code(), Some(0));
    }
}

#[test]
fn the_file_of_a_passed_unix_socket_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let bus = format!("ipc://{}", path.display());
    let flags = ["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bus-listen", &bus, "--settle", "0s"];
    let started = activated(listener, "unknown", &flags);
    let mut terminator = Terminator::spawn(tempfile::tempdir().unwrap(), started);
    drop(crate::service::Service::connect(&path, "s", &["GET /a"], 0));
    terminator.signal("TERM");
    assert_eq!(terminator.end_of().0.code(), Some(0));
    assert!(path.exists(), "it is the service manager's");
}

#[test]
fn a_passed_socket_that_no_flag_asks_for_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let flags = [&["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"], &OTHERS[..]].concat();
    let ended = activated(listener, "web", &flags).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("\"web\"") && said.contains(&address) && said.contains("--bus-listen"), "{said}");
}

#[test]
fn systemds_own_program_activates_it() {
    let program = "/usr/bin/systemd-socket-activate";
    if !Path::new(program).exists() {
        println!("SKIPPED: there is no {program} (Debian package systemd)");
        return;
    }
    let free = |_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let [http, admin] = [(); 2].map(free);
    let flags = [&["--http", &http, "--admin", &admin], &OTHERS[..]].concat();
    let mut started = Command::new(program);
    started.args(["-l", &http, "-l", &admin, "--fdname=http:admin", env!("CARGO_BIN_EXE_terminator")]);
    started.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // It starts the terminator when somebody connects.
    let first = std::thread::spawn({
        let http = http.clone();
        move || {
            while std::net::TcpStream::connect(&http).is_err() {
                std::thread::yield_now();
            }
        }
    });
    let mut terminator = Terminator::spawn(tempfile::tempdir().unwrap(), started);
    first.join().unwrap();
    assert_eq!(Client::connect(&http).get("/").status, 404);
    assert_eq!(Client::connect(&admin).get("/live").status, 200);
    terminator.signal("TERM");
    assert_eq!(terminator.end_of().0.code(), Some(0));
}
