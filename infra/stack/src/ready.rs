//! When the stack is ready, and the message printed then.
//!
//! Owns the checks and the banner. `probe` sends one request.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::log::Log;
use crate::options::Options;
use crate::{plan, probe};

/// Pause between two checks.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// After this time one line says what is still missing.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Waits until every service answers; prints once what is missing when that takes long.
pub async fn wait(options: &Options, log: &Log) {
    let start = Instant::now();
    let mut said = false;
    while let Err(missing) = ready(options).await {
        if !said && start.elapsed() > READY_WITHIN {
            log.line(
                "stack",
                &format!("not ready after {}: {missing}", humantime::format_duration(READY_WITHIN)),
            );
            said = true;
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

/// Succeeds when the terminator is ready and all services answer through it, some through another.
/// A client may have deleted member 1, so web's answer that it does not exist counts too.
async fn ready(options: &Options) -> Result<(), String> {
    const ASKED: [(&str, &[u16]); 8] = [
        ("/profiles?limit=1", &[200]),
        ("/feeds/1?limit=1", &[200]),
        ("/chats/1/messages?limit=1", &[200]),
        ("/events?limit=1", &[200]),
        ("/", &[200]),
        ("/members/1", &[200, 404]),
        ("/members/1/feed", &[200]),
        ("/conversations/1", &[200]),
    ];
    let admin = std::iter::once((options.admin, "/ready", [200].as_slice()));
    for (address, path, right) in admin.chain(ASKED.map(|(path, right)| (options.http, path, right))) {
        match probe::status(&probe::Server::Tcp(address), path).await {
            Ok(status) if right.contains(&status) => {}
            Ok(status) => return Err(format!("GET http://{address}{path} answers {status}")),
            Err(reason) => return Err(format!("GET http://{address}{path}: {reason}")),
        }
    }
    Ok(())
}

/// Prints where everything is, as commands that can be copied.
pub fn greet(options: &Options, runtime: &Path, log: &Log) {
    let (http, admin) = (probe::reachable(options.http), probe::reachable(options.admin));
    let ipc = plan::ipc(runtime, "terminator");
    let json = "-H content-type:application/json";
    let sample = match &options.store {
        None => format!("  curl -i http://{http}/members/1"),
        Some(store) => format!(
            "  no sample in {store}; member 1:  curl -X PUT {json} http://{http}/profiles/1 -d '{{\"name\":\"Ada\"}}'"
        ),
    };
    for line in [
        "ready".to_owned(),
        sample,
        format!("  curl -i -H 'Accept: text/html' http://{http}/members/1"),
        format!("  curl -i {json} http://{http}/feeds/1 -d '{{\"id\":\"hello\",\"text\":\"Hello\"}}'"),
        format!(
            "  curl -i {json} http://{http}/chats/7/messages -d '{{\"id\":\"1\",\"author\":\"1\",\"text\":\"Hi\"}}'"
        ),
        format!("  curl -i http://{http}/chats/7/updates   (waits for news after ?after=)"),
        format!(
            "  curl -i {json} http://{http}/events -d '{{\"events\":[{{\"id\":\"1\",\"type\":\"Opened\",\"tags\":[\"account:7\"]}}]}}'"
        ),
        format!("  curl -s http://{admin}/stats   (http://{admin}/ lists the admin paths)"),
        format!(
            "  curl -s --unix-socket {} http://web/stats   (each service has the same paths at NAME.admin.sock there)",
            plan::admin_socket(runtime, "web").display()
        ),
        format!("guests' services dial tcp://{} or {}", options.guests, ipc.display()),
        "Ctrl-C stops everything".to_owned(),
    ] {
        log.line("stack", &line);
    }
}
