//! The files of infra/deploy with other addresses and directories in them, and nothing else
//! changed.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// A directory for one test, and ports of the system's choice.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) front: SocketAddr,
    /// HTTP and admin of both terminators.
    pub(crate) terminators: [[SocketAddr; 2]; 2],
}

impl Site {
    pub(crate) fn new() -> Self {
        // Bound together, so that all differ; free again when the processes bind them.
        let listeners = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [front, a, b, c, d] = listeners.map(|listener| listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        for name in ["run/terminator-1", "run/terminator-2", "run/web", "lib"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self { dir, front, terminators: [[a, b], [c, d]] }
    }

    /// Writes `infra/deploy/NAME` with this site's addresses, and brings its path.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let mut text = std::fs::read_to_string(source(name)).unwrap();
        let mut replace = |from: &str, to: &str| text = text.replace(from, to);
        for (number, [http, admin]) in (1..).zip(self.terminators) {
            replace(&format!("127.0.0.1:8{number}80"), &http.to_string());
            replace(&format!("127.0.0.1:8{number}81"), &admin.to_string());
            replace(&format!("port 8{number}81"), &format!("port {}", admin.port()));
        }
        replace("listen 80 ", &format!("listen {} ", self.front));
        replace("bind :80\n", &format!("bind {}\n", self.front));
        replace("/run/stack/", &format!("{}/run/", self.dir.path().display()));
        replace("/var/lib/stack/", &format!("{}/lib/", self.dir.path().display()));
        self.write(name, &text)
    }

    /// Writes a file of the test's own.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The socket of terminator 1 or 2.
    pub(crate) fn bus(&self, number: usize) -> String {
        format!("ipc://{}/run/terminator-{number}/bus", self.dir.path().display())
    }
}

/// A file of infra/deploy.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}
