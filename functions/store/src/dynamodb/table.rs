//! The table itself, for services of one's own and for tests; on AWS the cloud template makes it.

use super::{DynamoDb, messages};
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType, TableStatus,
};
use std::time::Duration;

/// Pause between two looks at whether a table is ready.
const LOOK: Duration = Duration::from_millis(200);

/// How long a new table may take: AWS says that it takes some seconds, and rarely more than half a minute.
const READY_MAX: Duration = Duration::from_secs(180);

/// A table that was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// What was asked for makes no sense.
    #[error(transparent)]
    Shape(#[from] BuildError),
    /// The service refused to make it, or did not answer.
    #[error("the table is not made")]
    Create(#[from] Box<SdkError<CreateTableError>>),
    /// The service does not say how it is.
    #[error("the table does not answer")]
    Describe(#[from] Box<SdkError<DescribeTableError>>),
    /// It was asked for, and does not become ready.
    #[error("the table is not ready after {} s: look at it in the service's console", READY_MAX.as_secs())]
    Late,
}

impl DynamoDb {
    /// Makes the table if it is not there, and waits until it is ready.
    pub async fn create(&self) -> Result<(), CreateError> {
        let texts = ["pk", "sk", messages::TRAY, messages::DUE];
        let attribute = |name: &str| {
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build()
        };
        let part = |name: &str, kind: KeyType| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build()
        };
        // The numbers are what taking messages needs; their effects may be large, and are read from the table.
        let projection = Projection::builder()
            .projection_type(ProjectionType::Include)
            .non_key_attributes(messages::DELIVERIES);
        let due = GlobalSecondaryIndex::builder()
            .index_name(messages::DUE_INDEX)
            .key_schema(part(messages::TRAY, KeyType::Hash)?)
            .key_schema(part(messages::DUE, KeyType::Range)?)
            .projection(projection.build())
            .build()?;
        let stream = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewImage)
            .build()?;
        let made = self
            .client
            .create_table()
            .table_name(&*self.table)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(
                texts.map(attribute).into_iter().collect::<Result<_, _>>()?,
            ))
            .key_schema(part("pk", KeyType::Hash)?)
            .key_schema(part("sk", KeyType::Range)?)
            .global_secondary_indexes(due)
            .stream_specification(stream)
            .send()
            .await;
        match made {
            Ok(_) => {}
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(CreateTableError::is_resource_in_use_exception) => {}
            Err(error) => return Err(Box::new(error).into()),
        }
        let ready = tokio::time::timeout(READY_MAX, async {
            loop {
                let said = self
                    .client
                    .describe_table()
                    .table_name(&*self.table)
                    .send()
                    .await
                    .map_err(Box::new)?;
                if said.table.and_then(|table| table.table_status) == Some(TableStatus::Active) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        ready.await.map_err(|_| CreateError::Late)?
    }
}
