"""The Celery app of a worker. It carries ids and never loads torch: training happens in a child of its own."""

from celery import Celery

from core.settings import Settings


def make_app(settings: Settings) -> Celery:
    """Return the Celery app for the settings' broker. The row is the outcome, so there is no result backend."""
    app = Celery("distill", broker=settings.broker, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        # Early acknowledgement: a delivery may be lost or doubled either way, and the row settles both; a late one
        # would hand every job longer than the visibility timeout to a second worker.
        task_acks_late=False,
        # A busy worker must not hold a message that an idle one could take.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        task_default_queue="default",
    )
    return app
