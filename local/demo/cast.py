"""The staff, vans and customers of the demo company, as data."""

from dataclasses import dataclass

from core.rules.geo import distance_m
from local.simulator import city

SLUG = "demo"
NAME = "Lisboa Entregas"
TIME_ZONE = city.TIME_ZONE
MANAGER = ("manager@demo.example", "Marta Matos")
OPERATOR = ("operator@demo.example", "Óscar Oliveira")


@dataclass(frozen=True)
class RouteStop:
    """A place to load or unload: an address at a junction of the city."""

    address: str
    junction: str

    @property
    def latitude(self) -> float:
        return city.JUNCTIONS[self.junction][0]

    @property
    def longitude(self) -> float:
        return city.JUNCTIONS[self.junction][1]


@dataclass(frozen=True)
class Crew:
    """A driver with a van of their own. ``phone``: statuses go over MQTT, not REST."""

    driver: str
    driver_phone: str
    licence: str
    van: str
    plate: str
    start: str
    phone: bool = False

    @property
    def unit_label(self) -> str:
        return f"GPS unit of {self.van}"

    @property
    def phone_label(self) -> str:
        return f"Phone of {self.driver}"


@dataclass(frozen=True)
class Shop:
    """A customer of the company."""

    name: str
    phone: str
    place: RouteStop


# Driver n has the login driver{n}@demo.example.
CREWS = (
    Crew("Duarte Dias", "+351 900 000 001", "L-100001", "Van 1 Alfama", "AA-01-LX", "Rossio", phone=True),
    Crew("Helena Horta", "+351 900 000 002", "L-100002", "Van 2 Belém", "AA-02-LX", "Alcântara"),
    Crew("Rui Ramos", "+351 900 000 003", "L-100003", "Van 3 Chiado", "AA-03-LX", "Saldanha", phone=True),
    Crew("Sofia Sá", "+351 900 000 004", "L-100004", "Van 4 Areeiro", "AA-04-LX", "Alvalade"),
    Crew("Tiago Teles", "+351 900 000 005", "L-100005", "Van 5 Oriente", "AA-05-LX", "Chelas"),
)
# The demo never drives it, so that its only fixes are those that a user publishes by hand.
WALK = Crew("Vera Vaz", "+351 900 000 006", "L-100006", "Walk-through van", "AA-06-LX", "Praça do Comércio")
WALK_UNIT = "Walk-through unit"
WALK_REFERENCE = "WALK-THROUGH"

# Customer n has the login customer{n}@demo.example.
SHOPS = (
    Shop("Padaria da Graça", "+351 210 000 001", RouteStop("Rua da Graça 12, Lisboa", "Graça")),
    Shop(
        "Livraria Pombal",
        "+351 210 000 002",
        RouteStop("Avenida da Liberdade 240, Lisboa", "Marquês de Pombal"),
    ),
    Shop("Farmácia Saldanha", "+351 210 000 003", RouteStop("Avenida da República 4, Lisboa", "Saldanha")),
    Shop("Café Estrela", "+351 210 000 004", RouteStop("Calçada da Estrela 88, Lisboa", "Estrela")),
    Shop(
        "Oficina Marvila",
        "+351 210 000 005",
        RouteStop("Avenida Infante Dom Henrique 300, Lisboa", "Poço do Bispo"),
    ),
    Shop("Mercearia de Alvalade", "+351 210 000 006", RouteStop("Avenida de Roma 90, Lisboa", "Alvalade")),
)

SHORTEST_M = 800.0
DEPOTS = (
    RouteStop("Armazém Areeiro, Praça Francisco Sá Carneiro 1, Lisboa", "Areeiro"),
    RouteStop("Armazém Alcântara, Avenida 24 de Julho 180, Lisboa", "Alcântara"),
    RouteStop("Armazém Sete Rios, Estrada de Benfica 2, Lisboa", "Sete Rios"),
    RouteStop("Armazém Xabregas, Avenida Infante Dom Henrique 150, Lisboa", "Xabregas"),
)


def depot_for(place: RouteStop) -> RouteStop:
    """Return the nearest depot that is far enough for a drive."""
    metres = {
        depot: distance_m(depot.latitude, depot.longitude, place.latitude, place.longitude)
        for depot in DEPOTS
    }
    return min((depot for depot in DEPOTS if metres[depot] >= SHORTEST_M), key=metres.__getitem__)


# Description, quantity, weight of the whole line.
GOODS = (
    ("Crate of oranges", 4, 48.0),
    ("Box of books", 3, 36.0),
    ("Bag of flour, 25 kg", 6, 150.0),
    ("Parcel", 2, 5.5),
    ("Espresso machine", 1, 31.0),
    ("Case of olive oil", 5, 60.0),
)

FAILURES = ("Nobody there to take it", "The address does not exist", "The goods were damaged on the way")
RETURNS = ("Refused by the customer", "The shop is closed today")


def driver_email(number: int) -> str:
    """Return the login of driver ``number``, counted from 1."""
    return f"driver{number}@demo.example"


def customer_email(number: int) -> str:
    """Return the login of customer ``number``, counted from 1."""
    return f"customer{number}@demo.example"
