"""The domain: a durable queue of documents, and everything that works it off.

Floors; an upper one may import a lower one, never the reverse (``make check`` holds it)::

    6  worker.py   scheduler.py   jobs.launcher   webapp                composition roots
    5  jobs.tasks   jobs.cli   jobs.rq_worker   jobs.rq_scheduler       entry points
    4  jobs.intake   jobs.runner   jobs.sweep                           use cases
    3  jobs.delivery   jobs.operations   jobs.blobs   jobs.queries   jobs.accounts
    2  jobs.queue_service                                               every write of queue state
    1  jobs.tables   jobs.database   jobs.rows   jobs.settings   jobs.logs   jobs.embedded_redis
    0  jobs.errors   jobs.model   jobs.states   jobs.backoff   jobs.ids
       jobs.extraction   jobs.analysis                                  libraries: no database, no Redis

The database row is the truth; Redis and RQ only ring a bell that says "look at this row".
"""
