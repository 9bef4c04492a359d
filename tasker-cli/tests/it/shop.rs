//! A shop whose payments fail until they are allowed to succeed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tasker_worker::{Handlers, StepContext, StepError, Worker};

use crate::app::App;

/// A template whose second step fails until it is allowed to succeed.
const TEMPLATE: &str = "\
name: orders
namespace_name: shop
version: \"1.0.0\"
identity_strategy: always_unique
input_schema: {type: object, required: [id]}
steps:
  - name: check
    handler: {callable: Check}
  - name: pay
    dependencies: [check]
    handler: {callable: Pay}
    retry: {max_attempts: 1}
  - name: thank
    dependencies: [pay]
    handler: {callable: Thank}
";

/// A service with a template and, if it is open, a worker.
pub(crate) struct Shop {
    pub(crate) app: App,
    /// The payments succeed.
    pub(crate) pays: Arc<AtomicBool>,
    worker: Option<Worker>,
}

impl Shop {
    /// A service with the template, and no worker.
    pub(crate) async fn closed() -> Self {
        Self::closed_in(App::start().await).await
    }

    async fn closed_in(app: App) -> Self {
        app.write("orders.yaml", TEMPLATE);
        app.write("context.json", "{\"id\": 1}");
        let outcome = app.run(&["template", "register", "orders.yaml"]).await;
        assert_eq!(outcome.code, 0, "{outcome:?}");
        Self {
            app,
            pays: Arc::default(),
            worker: None,
        }
    }

    pub(crate) async fn open() -> Self {
        Self::open_in(App::start().await).await
    }

    pub(crate) async fn open_in(app: App) -> Self {
        let mut shop = Self::closed_in(app).await;
        let pays = Arc::clone(&shop.pays);
        let done = async |_: StepContext| Ok::<_, StepError>(json!({"done": true}));
        let handlers = Handlers::new()
            .function("Check", done)
            .function("Thank", done)
            .function("Pay", move |_: StepContext| {
                let pays = pays.load(Ordering::SeqCst);
                async move {
                    if pays {
                        Ok(json!({"paid": true}))
                    } else {
                        Err(StepError::permanent("the card was declined"))
                    }
                }
            });
        let context = Arc::clone(&shop.app.context);
        shop.worker = Some(Worker::builder(context).handlers(handlers).start());
        shop
    }

    /// Runs a task to its end, and returns its id.
    pub(crate) async fn task(&self) -> String {
        let run = [
            "task",
            "run",
            "shop/orders",
            "--context",
            "@context.json",
            "--wait",
        ];
        let outcome = self
            .app
            .run(&[&run[..], &["--output", "json"]].concat())
            .await;
        let task = outcome.json();
        assert_eq!(
            outcome.code,
            i32::from(task["status"] != "complete"),
            "{outcome:?}"
        );
        task["task_uuid"].as_str().unwrap().to_owned()
    }
}
