"""What the operator sees: one line and one set of metrics for each invocation.

    invocation    what is known of an invocation; `observed` watches one from its first moment to its end
    ids           what names it, in every line that is logged meanwhile
    line          the one line
    metrics       its metrics, in CloudWatch's embedded metric format
    logs          sets up the loggers of a process
    discretion    what no record may say, whoever logs it
    json_format   a record as JSON (Powertools' formatter); imported with the first record
    output        standard output, whole lines only

Nothing here imports Powertools before the first byte of a response: that costs some 50 ms.
"""
