//! A server of somebody else that the node calls: what it says can change, what it was asked is kept.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET /path`
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What it says.
#[derive(Clone)]
pub(crate) enum Says {
    /// A status and a body.
    This(u16, String),
    /// Nothing, for ever.
    Nothing,
    /// What this says to the body.
    By(Arc<Answer>),
}

type Answer = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

struct Shared {
    says: Mutex<Says>,
    asked: Mutex<Vec<Asked>>,
}

/// The server. Its thread ends with the test.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(crate) fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { says: Mutex::new(says), asked: Mutex::default() });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it says this.
    pub(crate) fn now(&self, says: Says) {
        *self.shared.says.lock().unwrap() = says;
    }

    /// All that it was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(asked) = read(&mut reader)? {
            self.asked.lock().unwrap().push(asked.clone());
            let says = self.says.lock().unwrap().clone();
            let (status, body) = match says {
                Says::This(status, body) => (status, body),
                Says::By(answer) => answer(&asked),
                Says::Nothing => {
                    std::thread::sleep(Duration::from_secs(60));
                    return Ok(());
                }
            };
            write!(stream, "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        }
        Ok(())
    }
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { line, headers, body }))
}
