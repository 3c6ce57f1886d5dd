//! MCP: the tools that a program which talks to a language model is given, over whatever road its client has to the daemon.
//!
//! Each tool is a question to the HTTP API and nothing else, so roles, bounds and refusals are those of the API. Used by
//! `ctl mcp` and by `/mcp`; they differ in the [`Door`] alone. Nothing here changes bounds, commands or secrets: no tool's
//! request has a place for them.

mod args;
pub mod outside;
mod pace;
pub mod plan;
mod tools;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, Extensions, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool as Listed, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Map, Value, json};

use self::outside::{NOTICE, shown, tame};
use self::pace::Pace;
pub use self::plan::{Answer, Request, collect};
use self::plan::{Part, Plan};
use self::tools::{Tool, tools};
use super::Status;
use crate::model::meta::quoted;
use crate::model::time::Wall;

/// What a caller was granted; each holds the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Tools that look.
    View,
    /// And the one that submits tasks.
    Submit,
    /// And those that change sizes, tasks and policies.
    Operate,
}

/// The way to the daemon, and what is known of the caller.
pub trait Door: Send + Sync + 'static {
    /// What the caller was granted.
    fn grant(&self, caller: &Extensions) -> Grant;

    /// Ask the daemon. A refusal is an answer; an error is that nobody answered.
    fn ask(&self, caller: &Extensions, request: Request) -> BoxFuture<'static, Result<Answer, String>>;

    /// The time.
    fn now(&self) -> Wall;
}

/// The server: what MCP asks for, through a door.
#[derive(Clone)]
pub struct Mcp {
    door: Arc<dyn Door>,
    tools: Arc<Vec<Tool>>,
    paces: Arc<[Pace; 3]>,
}

impl Mcp {
    /// Behind this door.
    pub fn new(door: impl Door) -> Mcp {
        Mcp { door: Arc::new(door), tools: Arc::new(tools()), paces: Arc::default() }
    }

    /// What a tool says; or what is wrong with the question, in words for whoever asked.
    async fn call(&self, request: CallToolRequestParams, caller: &Extensions) -> Result<Value, Refused> {
        let name = request.name.as_ref();
        let tool = self.tools.iter().find(|tool| tool.name == name).ok_or_else(|| Refused::Unknown(self.unknown(name)))?;
        let grant = self.door.grant(caller);
        if tool.grant > grant {
            return Err(Refused::because(format!("{name} {}", not_granted(tool.grant))));
        }
        let now = self.door.now();
        self.paces[grant as usize].take(now).map_err(Refused::because)?;
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let plan = (tool.plan)(arguments, now).map_err(|why| Refused::because(format!("{name}: {why}")))?;
        self.carry_out(plan, caller).await
    }

    async fn carry_out(&self, plan: Plan, caller: &Extensions) -> Result<Value, Refused> {
        if let Some(check) = plan.check {
            let found = self.ask(caller, check.request).await?;
            if found.pointer(check.needs).is_none_or(Value::is_null) {
                return Err(Refused::because(check.otherwise));
            }
        }
        let mut all = Map::from_iter([("notice".to_owned(), json!(NOTICE))]);
        for Part { name, request, optional, show } in plan.parts {
            match self.ask(caller, request).await {
                Ok(value) => drop(all.insert(name.into(), shown(show(value)))),
                Err(_) if optional => drop(all.insert(name.into(), Value::Null)),
                Err(refused) => return Err(refused),
            }
        }
        outside::bounded(Value::Object(all)).map_err(Refused::because)
    }

    async fn ask(&self, caller: &Extensions, request: Request) -> Result<Value, Refused> {
        let log = request.is_log;
        let answer = self.door.ask(caller, request).await.map_err(Refused::because)?;
        if !(200..300).contains(&answer.code) {
            let text = || String::from_utf8_lossy(&answer.body).into_owned();
            let status = serde_json::from_slice(&answer.body).unwrap_or_else(|_| Status::failure(answer.code, "", text()));
            return Err(Refused::ByDaemon(Box::new(status)));
        }
        if log {
            return Ok(json!({"log": String::from_utf8_lossy(&answer.body)}));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| Refused::because(format!("the daemon's answer cannot be read: {error}")))
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.tools.iter().map(|tool| tool.name).collect();
        format!("there is no tool {}: there are {}", quoted(name), names.join(", "))
    }
}

/// Why a tool did not do what was asked.
enum Refused {
    /// There is no such tool.
    Unknown(String),
    /// It is wrong in itself, not granted, or too fast; or nobody answers.
    Because(String),
    /// The daemon said no.
    ByDaemon(Box<Status>),
}

impl Refused {
    fn because(why: impl Into<String>) -> Refused {
        Refused::Because(why.into())
    }
}

fn not_granted(grant: Grant) -> &'static str {
    match grant {
        Grant::View => "is granted to all",
        Grant::Submit => {
            "submits work and was not granted: over stdio start `ctl mcp --allow-writes`, over HTTP use a token with the role submit \
             or operate; ask the person you work for"
        }
        Grant::Operate => {
            "changes things and was not granted: over stdio start `ctl mcp --allow-writes`, over HTTP use a token with the role \
             operate; ask the person you work for"
        }
    }
}

/// A refusal, as a tool's result: the model that asked is to read it.
fn told(refused: Refused) -> Result<CallToolResult, ErrorData> {
    match refused {
        Refused::Unknown(why) => Err(ErrorData::invalid_params(why, None)),
        Refused::Because(why) => Ok(CallToolResult::structured_error(json!({"error": {"message": tame(&why)}}))),
        Refused::ByDaemon(status) => {
            let causes = status.details.iter().flat_map(|details| &details.causes).map(|cause| tame(&cause.message));
            let causes: Vec<String> = causes.take(20).collect();
            let error =
                json!({"code": status.code, "reason": tame(&status.reason), "message": tame(&status.message), "causes": causes});
            Ok(CallToolResult::structured_error(json!({"error": error})))
        }
    }
}

fn listed(tool: &Tool) -> Listed {
    let Value::Object(schema) = (tool.schema)() else { return Listed::new(tool.name, tool.about, Map::new()) };
    let reads = tool.grant == Grant::View;
    let hints = ToolAnnotations::from_raw(None, Some(reads), Some(!reads && tool.is_destructive), None, Some(false));
    Listed::new(tool.name, tool.about, schema).with_annotations(hints)
}

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        let about = format!(
            "weir runs pools of local workers, gives them tasks, and moves their number and limits. {NOTICE} Tools that change \
             something are listed only where they were granted."
        );
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("weir", env!("CARGO_PKG_VERSION")))
            .with_instructions(about)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let grant = self.door.grant(&context.extensions);
        Ok(ListToolsResult::with_all_items(self.tools.iter().filter(|tool| tool.grant <= grant).map(listed).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let answered = self.call(request, &context.extensions).await;
        answered.map_or_else(told, |value| Ok(CallToolResult::structured(value))).map(CallToolResponse::from)
    }
}
