import pytest
from stub_broker import stub_broker

from groundshift.adapters.knative import BrokerSink
from groundshift.codec import encode
from groundshift.errors import Misconfigured, Unavailable
from groundshift.testing.event_sink import EventSinkContract, RecordingSink, arrived


@pytest.fixture
def broker():
    with stub_broker() as running:
        yield running


class TestBrokerSink(EventSinkContract):
    @pytest.fixture
    def sink(self, broker):
        with BrokerSink(broker.url, timeout_s=30) as made:
            yield made

    @pytest.fixture
    def accepted(self, broker):
        return broker.got

    @pytest.fixture
    def away(self):
        with BrokerSink("http://127.0.0.1:9/", timeout_s=5) as made:
            yield made


class TestRecordingSink(EventSinkContract):
    @pytest.fixture
    def sink(self):
        return RecordingSink()

    @pytest.fixture
    def accepted(self, sink):
        return sink.got

    @pytest.fixture
    def away(self):
        made = RecordingSink()
        made.failures.append(Unavailable("away"))
        return made


@pytest.mark.parametrize("status", [200, 204, 301, 400, 404, 429, 500, 503])
def test_anything_but_a_202_is_unsent(broker, status):
    broker.answers.append(status)
    headers, body = encode(arrived("a"))
    with (
        BrokerSink(broker.url, timeout_s=30) as sink,
        pytest.raises(Unavailable, match=str(status)),
    ):
        sink.publish(body, headers)


def test_a_broker_that_never_answers_is_unavailable_in_the_end(broker):
    broker.open.clear()
    headers, body = encode(arrived("a"))
    with (
        BrokerSink(broker.url, timeout_s=0.2) as sink,
        pytest.raises(Unavailable, match="no answer"),
    ):
        sink.publish(body, headers)


@pytest.mark.parametrize("bad", ["", "broker", "ftp://host/x", "http://"])
def test_what_is_no_address_is_for_a_person(bad):
    with pytest.raises(Misconfigured, match="sink_url"):
        BrokerSink(bad, timeout_s=1)
