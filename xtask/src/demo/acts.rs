//! What the demonstration shows on its scene.

use std::time::{Duration, Instant};

use tasker_test_support::free_port;

use crate::demo::report::{self, Latencies, Row, mean_resolve, milliseconds};
use crate::demo::scene::{Scene, borrowed};
use crate::demo::service::{self, ORCHESTRATION, Service, WORKER};
use crate::demo::subject::Subject;
use crate::error::XtaskError;

const WARM_REQUESTS: usize = 20;
const FILL_DEADLINE: Duration = Duration::from_secs(3);
const CHANGE_DEADLINE: Duration = Duration::from_secs(30);
const COLD: (&str, &str) = ("cold: in PostgreSQL", "database");
const REDIS_HIT: (&str, &str) = ("Redis hit: by a second, fresh orchestration", "redis");
const POLL: Duration = Duration::from_millis(10);

impl Scene {
    /// Requests tasks from a service that has the templates nowhere, in Redis, and in memory.
    pub(crate) async fn show_tiers(&mut self) -> Result<(), XtaskError> {
        if let Some(keys) = self.keys().await? {
            println!("\nkeys in Redis after the worker's boot: {}", keys.len());
        }
        let mut rows = vec![self.first_requests(&self.orchestration, COLD).await?];
        if self.redis.is_some() {
            // What the first service read is on its way to Redis when its requests are answered.
            let start = Instant::now();
            while self
                .keys()
                .await?
                .is_some_and(|keys| keys.len() < self.subjects.len())
                && start.elapsed() < FILL_DEADLINE
            {
                tokio::time::sleep(POLL).await;
            }
            let environment = borrowed(&self.environment);
            let second =
                Service::start(ORCHESTRATION, free_port()?, &environment, &self.http).await?;
            rows.push(self.first_requests(&second, REDIS_HIT).await?);
            self.second = Some(second);
        }
        let subject = self.subjects.first().ok_or(XtaskError::NoTemplate)?;
        let mut requests = Latencies::default();
        for _ in 0..WARM_REQUESTS {
            requests.push(subject.request(&self.orchestration).await?.took);
        }
        rows.push(Row {
            title: "warm: in this process's memory",
            requests,
            resolve: None,
        });
        report::print(&rows);
        Ok(())
    }

    /// Requests one task of each template from a service that has just started. The very first
    /// request of a process pays for its connections too, and is not counted.
    async fn first_requests(
        &self,
        service: &Service,
        (title, tier): (&'static str, &str),
    ) -> Result<Row, XtaskError> {
        let (warm_up, subjects) = self.subjects.split_first().ok_or(XtaskError::NoTemplate)?;
        warm_up.request(service).await?;
        let before = service.get_text("/metrics").await?;
        let mut requests = Latencies::default();
        for subject in subjects {
            requests.push(subject.request(service).await?.took);
        }
        let after = service.get_text("/metrics").await?;
        Ok(Row {
            title,
            requests,
            resolve: mean_resolve(&before, &after, tier),
        })
    }

    /// Changes a template on disk, restarts the worker as a deployment would, and waits until
    /// orchestration makes tasks from the new template.
    pub(crate) async fn show_change(&mut self) -> Result<(), XtaskError> {
        let subject = self.subjects.first().ok_or(XtaskError::NoTemplate)?;
        let before = subject.request(&self.orchestration).await?.template_hash;
        let start = Instant::now();
        subject
            .file
            .describe("Changed while the demonstration was running.")?;
        println!(
            "\nchanged {} on disk, restarting the worker",
            subject.file.file_name()
        );

        let old = self.worker.take();
        let restart = async {
            let port = match old {
                Some(old) => {
                    let port = old.port();
                    old.stop().await?;
                    port
                }
                None => service::port(8081)?,
            };
            let environment = borrowed(&self.environment);
            let worker = Service::start(WORKER, port, &environment, &self.http).await?;
            Ok::<_, XtaskError>((worker, start.elapsed()))
        };
        let arrival = async {
            loop {
                let hash = subject.request(&self.orchestration).await?.template_hash;
                if hash != before {
                    return Ok((hash, start.elapsed()));
                }
                if start.elapsed() > CHANGE_DEADLINE {
                    let seconds = CHANGE_DEADLINE.as_secs();
                    return Err(XtaskError::NoChange { seconds });
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let ((worker, ready), (after, arrived)) = tokio::try_join!(restart, arrival)?;
        println!("  template_hash before  {before}");
        println!("  template_hash after   {after}");
        println!(
            "  orchestration makes tasks of it {} after the edit",
            milliseconds(arrived)
        );
        println!(
            "  (the restarted worker was ready {} after the edit)",
            milliseconds(ready)
        );
        self.worker = Some(worker);
        Ok(())
    }

    /// What the tiers hold now.
    pub(crate) async fn show_caches(&self) -> Result<(), XtaskError> {
        println!();
        if let Some(worker) = &self.worker {
            for subject in &self.subjects {
                let Subject {
                    namespace,
                    name,
                    version,
                    ..
                } = subject;
                worker
                    .get(&format!("/templates/{namespace}/{name}/{version}"))
                    .await?;
            }
            println!(
                "worker, /templates/cache/stats        {}",
                worker.get("/templates/cache/stats").await?
            );
            println!(
                "worker, /templates/cache/distributed  {}",
                worker.get("/templates/cache/distributed").await?
            );
        }
        println!(
            "orchestration, /health/ready          {}",
            self.orchestration.get("/health/ready").await?["status"]
        );
        match self.keys().await? {
            None => println!("Redis: none. No request failed; every process keeps its own copies."),
            Some(keys) => {
                println!("keys in Redis: {}", keys.len());
                for (key, seconds) in keys {
                    println!("  {key}  (expires in {seconds} s)");
                }
            }
        }
        Ok(())
    }
}
