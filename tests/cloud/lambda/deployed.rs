//! What a stack deployed: functions, and what invokes them.

use crate::lambda::account::{Account, encoded};
use crate::lambda::filter::Filter;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;

/// Everything of a stack that Lambda and those who call it go by.
#[derive(Debug, Default)]
pub struct Deployed {
    /// Functions whose names begin with the stack's.
    pub functions: Vec<Settings>,
    /// Streams that invoke them.
    pub mappings: Vec<Mapping>,
    /// HTTP APIs that have a route to one of them.
    pub apis: Vec<Api>,
    /// What invokes them by the clock.
    pub schedules: Vec<Schedule>,
}

/// A function.
#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    pub arn: String,
    /// Whose rights it has.
    pub role: String,
    /// What its code calls it.
    pub handler: String,
    pub environment: Vec<(String, String)>,
    /// How long one invocation may take.
    pub timeout: Duration,
    /// Told to it; nothing is held to it here.
    pub memory_mb: u64,
    /// How many invocations may run at once, if that is reserved.
    pub concurrency_max: Option<usize>,
    /// Times that an event is tried again which nobody waits for.
    pub retries_max: u32,
    /// Queue of the events that failed for good.
    pub on_failure: Option<String>,
    /// The first label of its own address, if it has one.
    pub url: Option<String>,
    /// Whom it lets invoke it.
    pub policy: Value,
}

/// A stream that invokes a function.
#[derive(Debug, Clone)]
pub struct Mapping {
    pub stream: String,
    /// Name of the function.
    pub function: String,
    /// `TRIM_HORIZON` or `LATEST`.
    pub start: String,
    /// Records of one invocation.
    pub batch_max: usize,
    /// Whether a batch that failed is halved.
    pub bisect: bool,
    /// Times that a batch is tried again; for ever without.
    pub retries_max: Option<u32>,
    /// Age at which a record is given up; never without.
    pub age_max: Option<Duration>,
    /// Whether the function tells which records failed.
    pub partial: bool,
    /// Records that one of these matches; all without one.
    pub filters: Vec<Filter>,
    /// Queue that is told of what was given up.
    pub on_failure: Option<String>,
}

/// An HTTP API.
#[derive(Debug)]
pub struct Api {
    pub id: String,
    /// `POST /hook/{proxy+}` or `$default`, and the function behind it.
    pub routes: Vec<(String, String)>,
}

/// A rule of EventBridge or a schedule of its Scheduler.
#[derive(Debug)]
pub struct Schedule {
    pub name: String,
    pub arn: String,
    /// Whose rights a schedule has; a rule has none, and functions must admit it.
    pub role: Option<String>,
    /// Names of functions, and the event that each is sent instead of the usual one.
    pub targets: Vec<(String, Option<Value>)>,
}

impl Deployed {
    /// Reads it all.
    pub async fn read(account: &Account, stack: &str) -> io::Result<Self> {
        let mut deployed = Self::default();
        for found in pages(account, "/2015-03-31/functions/", "Functions").await? {
            if text(&found, "FunctionName").starts_with(&format!("{stack}-")) {
                deployed.functions.push(settings(account, &found).await?);
            }
        }
        let is_ours = |name: &str| {
            deployed
                .functions
                .iter()
                .any(|function| function.name == name)
        };
        let mappings = pages(
            account,
            "/2015-03-31/event-source-mappings/",
            "EventSourceMappings",
        )
        .await?;
        deployed.mappings = mappings
            .iter()
            .filter(|found| is_ours(function_of(&text(found, "FunctionArn"))))
            // One that is switched off is deployed and does nothing.
            .filter(|found| !text(found, "State").starts_with("Disabl"))
            .map(mapping)
            .collect();
        deployed.apis = apis(account, is_ours).await?;
        deployed.schedules = rules(account, is_ours).await?;
        deployed
            .schedules
            .extend(schedules(account, is_ours).await?);
        Ok(deployed)
    }
}

/// The name in a function's full name, in the address that an API has of it, or itself.
pub fn function_of(named: &str) -> &str {
    let rest = named
        .rsplit_once("function:")
        .map_or(named, |(_, rest)| rest);
    rest.split([':', '/']).next().unwrap_or(rest)
}

async fn pages(account: &Account, path: &str, list: &str) -> io::Result<Vec<Value>> {
    let (mut all, mut from) = (Vec::new(), String::new());
    loop {
        let page = account
            .get("lambda", &format!("{path}?MaxItems=50{from}"))
            .await?;
        all.extend(page[list].as_array().cloned().unwrap_or_default());
        match page["NextMarker"]
            .as_str()
            .filter(|marker| !marker.is_empty())
        {
            Some(marker) => from = format!("&Marker={}", encoded(marker)),
            None => return Ok(all),
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<(String, String)> {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn number(value: &Value) -> Option<u32> {
    value.as_i64().and_then(|number| u32::try_from(number).ok())
}

async fn settings(account: &Account, found: &Value) -> io::Result<Settings> {
    let name = text(found, "FunctionName");
    let of = |version: &str, what: &str| format!("/{version}/functions/{name}/{what}");
    let urls = account.get("lambda", &of("2021-10-31", "urls")).await?;
    let later = account
        .get("lambda", &of("2019-09-25", "event-invoke-config/list"))
        .await?;
    let later = &later["FunctionEventInvokeConfigs"][0];
    let concurrency = account
        .get("lambda", &of("2019-09-30", "concurrency"))
        .await?;
    // One that admits nobody may have none.
    let policy = account
        .get("lambda", &of("2015-03-31", "policy"))
        .await
        .unwrap_or_default();
    let policy = policy["Policy"]
        .as_str()
        .and_then(|policy| serde_json::from_str(policy).ok())
        .unwrap_or_default();
    Ok(Settings {
        arn: text(found, "FunctionArn"),
        role: text(found, "Role"),
        handler: text(found, "Handler"),
        environment: texts(&found["Environment"]["Variables"]),
        timeout: Duration::from_secs(found["Timeout"].as_u64().unwrap_or(3)),
        memory_mb: found["MemorySize"].as_u64().unwrap_or(128),
        concurrency_max: number(&concurrency["ReservedConcurrentExecutions"])
            .map(|max| max as usize),
        retries_max: number(&later["MaximumRetryAttempts"]).unwrap_or(2),
        on_failure: on_failure(later),
        url: label(&urls["FunctionUrlConfigs"][0]["FunctionUrl"]),
        policy,
        name,
    })
}

/// `https://LABEL.lambda-url...`
fn label(url: &Value) -> Option<String> {
    let host = url.as_str()?.split_once("://")?.1;
    host.split('.').next().map(str::to_owned)
}

fn on_failure(of: &Value) -> Option<String> {
    of["DestinationConfig"]["OnFailure"]["Destination"]
        .as_str()
        .map(str::to_owned)
}

fn mapping(found: &Value) -> Mapping {
    let filters = found["FilterCriteria"]["Filters"]
        .as_array()
        .into_iter()
        .flatten();
    Mapping {
        stream: text(found, "EventSourceArn"),
        function: function_of(&text(found, "FunctionArn")).to_owned(),
        start: text(found, "StartingPosition"),
        batch_max: number(&found["BatchSize"]).unwrap_or(100).max(1) as usize,
        bisect: found["BisectBatchOnFunctionError"] == true,
        retries_max: number(&found["MaximumRetryAttempts"]),
        age_max: number(&found["MaximumRecordAgeInSeconds"])
            .map(|seconds| Duration::from_secs(seconds.into())),
        partial: found["FunctionResponseTypes"]
            .as_array()
            .is_some_and(|all| all.contains(&json!("ReportBatchItemFailures"))),
        filters: filters
            .map(|filter| Filter::parse(&text(filter, "Pattern")))
            .collect(),
        on_failure: on_failure(found),
    }
}

async fn apis(account: &Account, is_ours: impl Fn(&str) -> bool) -> io::Result<Vec<Api>> {
    let mut apis = Vec::new();
    for api in items(&account.get("apigateway", "/v2/apis").await?) {
        let id = text(&api, "apiId");
        let behind = items(
            &account
                .get("apigateway", &format!("/v2/apis/{id}/integrations"))
                .await?,
        );
        let function = |route: &Value| {
            let target = text(route, "target");
            let wanted = target.strip_prefix("integrations/")?;
            let integration = behind
                .iter()
                .find(|found| found["integrationId"] == wanted)?;
            Some(function_of(&text(integration, "integrationUri")).to_owned())
        };
        let all = items(
            &account
                .get("apigateway", &format!("/v2/apis/{id}/routes"))
                .await?,
        );
        let routes = all
            .iter()
            .filter_map(|route| Some((text(route, "routeKey"), function(route)?)));
        let routes: Vec<_> = routes.filter(|(_, function)| is_ours(function)).collect();
        if !routes.is_empty() {
            apis.push(Api { id, routes });
        }
    }
    Ok(apis)
}

fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().cloned().unwrap_or_default()
}

async fn rules(account: &Account, is_ours: impl Fn(&str) -> bool) -> io::Result<Vec<Schedule>> {
    let mut schedules = Vec::new();
    let all = account
        .ask("events", "AWSEvents.ListRules", &json!({}))
        .await?;
    for rule in all["Rules"].as_array().into_iter().flatten() {
        let found = account
            .ask(
                "events",
                "AWSEvents.ListTargetsByRule",
                &json!({ "Rule": rule["Name"] }),
            )
            .await?;
        let targets = found["Targets"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(target);
        let targets: Vec<_> = targets.filter(|(function, _)| is_ours(function)).collect();
        if !targets.is_empty() {
            schedules.push(Schedule {
                name: text(rule, "Name"),
                arn: text(rule, "Arn"),
                role: None,
                targets,
            });
        }
    }
    Ok(schedules)
}

async fn schedules(account: &Account, is_ours: impl Fn(&str) -> bool) -> io::Result<Vec<Schedule>> {
    let mut schedules = Vec::new();
    let all = account.get("scheduler", "/schedules").await?;
    for found in all["Schedules"].as_array().into_iter().flatten() {
        let (name, group) = (text(found, "Name"), text(found, "GroupName"));
        let whole = account
            .get(
                "scheduler",
                &format!(
                    "/schedules/{}?groupName={}",
                    encoded(&name),
                    encoded(&group)
                ),
            )
            .await?;
        let targets: Vec<_> = target(&whole["Target"])
            .into_iter()
            .filter(|(function, _)| is_ours(function))
            .collect();
        if !targets.is_empty() {
            let role = Some(text(&whole["Target"], "RoleArn"));
            schedules.push(Schedule {
                name,
                arn: text(found, "Arn"),
                role,
                targets,
            });
        }
    }
    Ok(schedules)
}

/// A target that is a function.
fn target(found: &Value) -> Option<(String, Option<Value>)> {
    let arn = text(found, "Arn");
    let instead = found["Input"]
        .as_str()
        .and_then(|input| serde_json::from_str(input).ok());
    arn.contains(":function:")
        .then(|| (function_of(&arn).to_owned(), instead))
}

#[test]
fn a_function_is_known_by_each_of_its_names() {
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:mill-web";
    let uri =
        format!("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations");
    for named in [
        "mill-web",
        arn,
        &format!("{arn}:$LATEST"),
        "000000000000:function:mill-web",
        &uri,
    ] {
        assert_eq!(function_of(named), "mill-web");
    }
}
