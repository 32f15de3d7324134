#!/usr/bin/env python3
# A function that does what its event says.
import http.client, json, os, sys, threading, time

RUNTIME = "/2018-06-01/runtime/"


def ask(host, method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(host)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def late(seconds):
    time.sleep(seconds)
    print("late", flush=True)


def invoke(event):
    scope = os.environ["AWS_ACCESS_KEY_ID"] + "/20260101/us-east-1/lambda/aws4_request"
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "X-Amz-Invocation-Type": event.get("type", "RequestResponse"),
    }
    host = os.environ["AWS_ENDPOINT_URL_LAMBDA"].removeprefix("http://")
    path = f"/2015-03-31/functions/{event['function']}/invocations"
    answer, body = ask(host, "POST", path, json.dumps(event["payload"]), headers)
    return {"status": answer.status, "error": answer.headers.get("X-Amz-Function-Error"), "body": body}


def records(event):
    for record in event["Records"]:
        change = record["dynamodb"]
        print("record", change["Keys"]["sk"]["S"], flush=True)
        if change["Keys"]["sk"]["S"].startswith("poison"):
            return {"batchItemFailures": [{"itemIdentifier": change["SequenceNumber"]}]}
    return {"batchItemFailures": []}


def handle(event, headers):
    if "Records" in event:
        return records(event)
    if "requestContext" in event:
        if event["rawPath"].endswith("/raise"):
            raise ValueError("as it was told")
        return {"statusCode": 201, "body": json.dumps(event), "cookies": ["a=1", "b=2"]}
    what = event.get("do", "answer")
    print(what, headers["Lambda-Runtime-Aws-Request-Id"], flush=True)
    if what == "raise":
        raise ValueError(event.get("message", "as it was told"))
    if what == "exit":
        os._exit(event["code"])
    if what == "sleep":
        time.sleep(event["seconds"])
    if what == "late":
        threading.Thread(target=late, args=(event["seconds"],), daemon=True).start()
    if what == "large":
        return "x" * event["bytes"]
    if what == "ask":
        for number in range(event["times"]):
            ask(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"), "GET", f"/{number}")
            print("asked", number, flush=True)
    if what == "invoke":
        return invoke(event)
    return {"pid": os.getpid(), "environment": dict(os.environ), "value": event.get("value")}


if os.environ.get("_HANDLER") == "broken":
    sys.exit(3)
while True:
    host = os.environ["AWS_LAMBDA_RUNTIME_API"]
    told, event = ask(host, "GET", RUNTIME + "invocation/next")
    where = RUNTIME + "invocation/" + told.headers["Lambda-Runtime-Aws-Request-Id"]
    try:
        ask(host, "POST", where + "/response", json.dumps(handle(json.loads(event), told.headers)))
    except ValueError as error:
        words = {"errorType": "ValueError", "errorMessage": str(error)}
        ask(host, "POST", where + "/error", json.dumps(words))
