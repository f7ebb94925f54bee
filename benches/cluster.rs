//! The whole cluster under load, on loopback: `cargo bench --bench cluster`, with `-- --quick` in a fifth of the time.
//!
//! The entry agent is the real program in a process of its own (`-- --program <file>` takes another build of it). All
//! engines are scripted and live with the other agents in a second process; this one is the clients. Each figure of
//! an agent stands beside that of the engines asked directly, and beside what was aimed for. Nothing passes or fails.
#![expect(clippy::print_stdout, reason = "it prints figures")]

#[path = "cluster/cast.rs"]
mod cast;
#[path = "cluster/console.rs"]
mod console;
#[path = "../tests/it/support/engine.rs"]
mod engine;
#[path = "cluster/files.rs"]
mod files;
#[path = "cluster/load.rs"]
mod load;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cast::{Entry, Layout, Rest};
use clap::Parser;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use load::{Connection, Load, Measured, Place, Reply, Signer, at};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// 30 s: a hundred agents derive their keys on two processors.
const PATIENCE: Duration = Duration::from_secs(30);

/// 834 containers on three nodes: a list of 1.25 MB.
const LARGE: usize = 278;

/// 4 s: each of 64 clients must have its large list at least once, and these lists take turns.
const PEAK: Duration = Duration::from_secs(4);

#[derive(Parser)]
struct Options {
    /// Measure for a fifth of the time, and only three nodes
    #[arg(long)]
    quick: bool,
    /// Only these figures, of three nodes
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// The agent to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_swarmgate"))]
    program: PathBuf,
    /// Cargo says so to every bench
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true, num_args = 2)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    Lists,
    Pings,
    Consoles,
    Files,
    Starts,
    Memory,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let [directory, ports] = options.rest.as_slice() {
        return cast::be_the_rest(directory, ports);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&options))
}

async fn measure(options: &Options) -> Result<()> {
    let size = std::fs::metadata(&options.program)?.len() as f64 / 1e6;
    println!("{}: {size:.2} MB", options.program.display());
    let lasts = Duration::from_millis(if options.quick { 300 } else { 1500 });
    let mut bench = Bench { program: &options.program, lasts, signer: Arc::new(Signer::new(cast::SECRET)?) };
    let wanted = |part| options.only.is_none_or(|only| only == part);
    for nodes in if options.quick || options.only.is_some() { &[3][..] } else { &[3, 30, 100] } {
        let directory = tempfile::Builder::new().prefix("swarmgate-bench-").tempdir()?;
        let layout = Layout::new(directory.path(), *nodes)?;
        let mut rest = Rest::start(&layout)?;
        if wanted(Part::Lists) {
            bench.lists(&layout, &mut rest).await?;
        }
        if *nodes > 3 {
            continue;
        }
        if wanted(Part::Pings) {
            bench.pings(&layout).await?;
        }
        if wanted(Part::Consoles) {
            bench.consoles(&layout).await?;
        }
        if wanted(Part::Files) {
            bench.files(&layout, options.quick).await?;
        }
        if wanted(Part::Starts) {
            bench.starts(&layout).await?;
        }
        if wanted(Part::Memory) {
            bench.memory(&layout, &mut rest).await?;
        }
    }
    Ok(())
}

struct Bench<'a> {
    program: &'a Path,
    lasts: Duration,
    signer: Arc<Signer>,
}

impl Bench<'_> {
    async fn lists(&mut self, layout: &Layout, rest: &mut Rest) -> Result<()> {
        let nodes = layout.peer_ports.len();
        for containers in [20, 200] {
            rest.set_containers(containers)?;
            let entry = self.whole_cluster(layout).await?;
            table(&format!("list of {nodes} nodes, {containers} containers each"));
            let engines = self.engines_at_once(layout).await?;
            row("the engines, all at once", 1, &engines, None, "");
            // 32 lists of 100 nodes begin with 3200 handshakes: no figure of this short a time.
            for clients in if nodes == 3 { [1, 32] } else { [1, 4] } {
                let what = Load { clients, ..self.load("/containers/json") };
                let goal = match clients {
                    1 => format!("p50 at most {:.2} ms", at(&engines.whole, 0.5) + 2.0),
                    _ => String::new(),
                };
                self.agent("agent", &entry, &what, &goal).await?;
            }
        }
        Ok(())
    }

    async fn pings(&mut self, layout: &Layout) -> Result<()> {
        let entry = self.whole_cluster(layout).await?;
        table("/_ping, a fresh signature each time");
        for clients in [1, 32] {
            let local = Load { clients, ..self.load("/_ping") };
            let direct = load::run(&Place::Engine(layout.socket(0)), &local, &self.signer).await?;
            row("the engine", clients, &direct, None, "");
            let here = self.agent("agent, own node", &entry, &local, "").await?;
            let there = Load { node: Some("node002".to_owned()), ..local };
            let goal = format!("at least {:.0}/s", here.rate() / 2.0);
            self.agent("agent, forwarded to a worker", &entry, &there, &goal).await?;
        }
        Ok(())
    }

    async fn consoles(&self, layout: &Layout) -> Result<()> {
        let entry = self.whole_cluster(layout).await?;
        table("a console, one byte and its echo");
        let id = console::make(&layout.socket(2), "node002").await?;
        let direct = console::direct(&layout.socket(2), &id, self.lasts).await?;
        row("the engine", 1, &direct, None, "");
        let before = entry.cpu()?;
        let there = console::through(&entry.place()?, "node002", &id, &self.signer, self.lasts).await?;
        let goal = format!("p50 under {:.2} ms", at(&direct.whole, 0.5) + 5.0);
        row("through two agents", 1, &there, Some(entry.cpu()? - before), &goal);
        Ok(())
    }

    async fn files(&mut self, layout: &Layout, quick: bool) -> Result<()> {
        let bytes = if quick { 1 << 28 } else { 1 << 30 };
        files::make(&layout.directory, bytes)?;
        let entry = self.whole_cluster(layout).await?;
        table(&format!("a directory of {} files", files::ENTRIES));
        for (name, node) in [("agent, own node", "node000"), ("agent, another node", "node002")] {
            let path = "/v2/browse/ls?volumeID=bench&path=/many";
            let what = Load { node: Some(node.to_owned()), ..self.load(path) };
            self.agent(name, &entry, &what, "p50 under 200 ms").await?;
        }
        println!("\na file of {:.0} MB", bytes as f64 / 1e6);
        let plain = files::plain_copy(&layout.directory).await?;
        println!("  a plain TLS copy                   {plain:6.0} MB/s");
        for (name, node) in [("through one agent ", "node000"), ("through two agents", "node002")] {
            let mut headers = self.signer.headers()?;
            headers.insert("x-node", HeaderValue::from_static(node));
            let speed = files::download(&entry.place()?, &headers, bytes).await?;
            println!("  {name}                 {speed:6.0} MB/s   goal: at least {:.0}", plain / 2.0);
        }
        println!("  the entry agent's peak             {:6.1} MB", entry.memory("VmHWM")?);
        Ok(())
    }

    async fn starts(&self, layout: &Layout) -> Result<()> {
        println!("\nstart to first answer, with new certificates");
        let mut took = Vec::new();
        for _ in 0..5 {
            let entry = Entry::start(self.program, layout)?;
            self.until(&entry, "/_ping", |_| true).await?;
            took.push(entry.started.elapsed());
        }
        took.sort();
        println!("  median {:.0} ms, slowest {:.0} ms   goal: under 300 ms", at(&took, 0.5), at(&took, 1.0));
        Ok(())
    }

    async fn memory(&mut self, layout: &Layout, rest: &mut Rest) -> Result<()> {
        rest.set_containers(LARGE)?;
        let entry = self.whole_cluster(layout).await?;
        println!("\nmemory of the agent");
        pause(Duration::from_secs(2)).await;
        println!("  idle                               {:6.1} MB   goal: under 6 MB", entry.memory("VmRSS")?);
        let what = Load { clients: 64, lasts: PEAK, ..self.load("/containers/json") };
        let measured = load::run(&entry.place()?, &what, &self.signer).await?;
        let each = measured.bytes as f64 / measured.whole.len() as f64 / 1e6;
        let peak = entry.memory("VmHWM")?;
        println!("  64 clients that list {each:.2} MB each  {peak:6.1} MB   goal: under 48 MB");
        pause(Duration::from_secs(5)).await;
        println!(
            "  5 s after                          {:6.1} MB   goal: under 16 MB",
            entry.memory("VmRSS")?
        );
        Ok(())
    }

    fn load(&self, path: &str) -> Load {
        Load { path: path.to_owned(), node: None, clients: 1, lasts: self.lasts }
    }

    async fn agent(&mut self, name: &str, entry: &Entry, what: &Load, goal: &str) -> Result<Measured> {
        // More than any machine answers; whatever is left over is thrown away.
        let stock = if what.path == "/_ping" { (20_000.0 * what.lasts.as_secs_f64()) as usize } else { 1000 };
        if let Some(signer) = Arc::get_mut(&mut self.signer) {
            signer.stock(stock)?;
        }
        let place = entry.place()?;
        let before = entry.cpu()?;
        let measured = load::run(&place, what, &self.signer).await?;
        row(name, what.clients, &measured, Some(entry.cpu()? - before), goal);
        Ok(measured)
    }

    /// What a list costs at least: every engine asked at once over a kept connection, the slowest counts.
    async fn engines_at_once(&self, layout: &Layout) -> Result<Measured> {
        let places = (0..layout.peer_ports.len()).map(|node| Place::Engine(layout.socket(node)));
        let mut connections = Vec::new();
        for place in places {
            connections.push(Connection::open(&place).await?);
        }
        let started = std::time::Instant::now();
        let (mut whole, mut bytes) = (Vec::new(), 0);
        while started.elapsed() < self.lasts {
            let asked = std::time::Instant::now();
            let replies = connections.iter_mut().map(|c| c.get("/containers/json", HeaderMap::new()));
            for reply in join_all(replies).await {
                bytes += reply?.length;
            }
            whole.push(asked.elapsed());
        }
        whole.sort();
        Ok(Measured { first: Vec::new(), whole, took: started.elapsed(), bytes })
    }

    /// An entry agent that sees every node.
    async fn whole_cluster(&self, layout: &Layout) -> Result<Entry> {
        let entry = Entry::start(self.program, layout)?;
        let all = format!("{0}/{0}", layout.peer_ports.len());
        self.until(&entry, "/containers/json", |headers| {
            headers.get("x-node-answered").is_some_and(|answered| *answered == *all)
        })
        .await?;
        Ok(entry)
    }

    /// Asks again and again until the answer is as wanted.
    async fn until(&self, entry: &Entry, path: &str, wanted: impl Fn(&HeaderMap) -> bool) -> Result<()> {
        let mut last = "nothing".to_owned();
        while entry.started.elapsed() < PATIENCE {
            last = match self.once(entry, path).await {
                Ok(reply) if reply.status.is_success() && wanted(&reply.headers) => return Ok(()),
                Ok(reply) => format!("{} {:?}", reply.status, reply.headers),
                Err(problem) => problem.to_string(),
            };
            pause(Duration::from_millis(2)).await;
        }
        Err(format!("the agent did not answer as wanted within {PATIENCE:?}, but {last}").into())
    }

    async fn once(&self, entry: &Entry, path: &str) -> Result<Reply> {
        load::ask(&entry.place()?, path, &self.signer).await
    }
}

#[expect(clippy::disallowed_methods, reason = "another process tells nobody when it has come so far")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

fn table(text: &str) {
    println!("\n{text}");
    let names = ["clients", "answers/s", "p50 ms", "p99 ms", "1st byte ms", "CPU µs each"];
    println!(
        "{:32}{:>8}{:>11}{:>10}{:>10}{:>12}{:>12}",
        "", names[0], names[1], names[2], names[3], names[4], names[5]
    );
}

fn row(name: &str, clients: usize, measured: &Measured, cpu: Option<Duration>, goal: &str) {
    let count = measured.whole.len().max(1) as f64;
    let first =
        if measured.first.is_empty() { "-".to_owned() } else { format!("{:.2}", at(&measured.first, 0.5)) };
    let cpu = cpu.map_or("-".to_owned(), |cpu| format!("{:.0}", cpu.as_secs_f64() * 1e6 / count));
    let goal = if goal.is_empty() { String::new() } else { format!("   goal: {goal}") };
    println!(
        "  {name:30}{clients:>8}{:>11.0}{:>10.2}{:>10.2}{first:>12}{cpu:>12}{goal}",
        measured.rate(),
        at(&measured.whole, 0.5),
        at(&measured.whole, 0.99),
    );
}
