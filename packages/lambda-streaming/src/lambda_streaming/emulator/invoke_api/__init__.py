"""Lambda's Invoke API, for AWS's SDKs: `call` reads requests, `event_stream` frames, `app` serves.

Sources: Lambda API reference, `Invoke` and `InvokeWithResponseStream`; botocore's model of the service.
"""
