"""A small Lisbon, drawn by hand: named junctions, and streets as polylines between them.

Coordinates are degrees WGS 84, accurate to a few dozen metres: enough to look right on a map of the city.
"""

from dataclasses import dataclass

from core.rules.geo import distance_m

Point = tuple[float, float]
TIME_ZONE = "Europe/Lisbon"


@dataclass(frozen=True)
class Street:
    """``line`` runs through junctions (names) and bends (degrees); both directions may be driven."""

    name: str
    limit_kmh: float
    line: tuple[str | Point, ...]
    tunnel: bool = False


JUNCTIONS: dict[str, Point] = {
    "Aeroporto": (38.7693, -9.1286),
    "Alameda": (38.7371, -9.1338),
    "Alcântara": (38.7040, -9.1750),
    "Alvalade": (38.7531, -9.1439),
    "Amoreiras": (38.7245, -9.1625),
    "Anjos": (38.7268, -9.1347),
    "Areeiro": (38.7423, -9.1335),
    "Arroios": (38.7337, -9.1345),
    "Belém": (38.6963, -9.2050),
    "Benfica": (38.7490, -9.2000),
    "Braço de Prata": (38.7480, -9.1000),
    "Cais do Sodré": (38.7062, -9.1447),
    "Camões": (38.7106, -9.1434),
    "Campo Grande": (38.7594, -9.1555),
    "Campo Pequeno": (38.7425, -9.1461),
    "Campo de Ourique": (38.7180, -9.1660),
    "Chelas": (38.7560, -9.1150),
    "Entrecampos": (38.7478, -9.1487),
    "Estados Unidos": (38.7497, -9.1304),
    "Estefânia": (38.7287, -9.1393),
    "Estrela": (38.7138, -9.1600),
    "Graça": (38.7170, -9.1300),
    "Intendente": (38.7224, -9.1350),
    "João XXI oeste": (38.7424, -9.1425),
    "João XXI leste": (38.7423, -9.1365),
    "Laranjeiras": (38.7485, -9.1725),
    "Marquês de Pombal": (38.7254, -9.1499),
    "Martim Moniz": (38.7162, -9.1361),
    "Olaias": (38.7393, -9.1240),
    "Olivais": (38.7625, -9.1110),
    "Oriente": (38.7678, -9.0991),
    "Picoas": (38.7307, -9.1466),
    "Poço do Bispo": (38.7393, -9.1025),
    "Praça de Espanha": (38.7378, -9.1588),
    "Praça do Comércio": (38.7078, -9.1366),
    "Príncipe Real": (38.7168, -9.1482),
    "Rato": (38.7199, -9.1545),
    "Relógio": (38.7585, -9.1262),
    "Restauradores": (38.7160, -9.1418),
    "Roma": (38.7487, -9.1412),
    "Rossio": (38.7138, -9.1394),
    "Saldanha": (38.7345, -9.1451),
    "Santa Apolónia": (38.7139, -9.1229),
    "Santos": (38.7069, -9.1560),
    "Sapadores": (38.7212, -9.1262),
    "Sete Rios": (38.7402, -9.1670),
    "São Sebastião": (38.7347, -9.1543),
    "Telheiras": (38.7605, -9.1665),
    "Xabregas": (38.7273, -9.1090),
}

STREETS = (
    Street("Avenida da Liberdade", 50, ("Restauradores", (38.7187, -9.1441), "Marquês de Pombal")),
    Street("Rua do Ouro", 30, ("Praça do Comércio", (38.7105, -9.1379), "Rossio", "Restauradores")),
    Street("Rua da Palma", 40, ("Rossio", (38.7148, -9.1378), "Martim Moniz")),
    Street(
        "Avenida Almirante Reis",
        50,
        ("Martim Moniz", "Intendente", "Anjos", (38.7302, -9.1349), "Arroios", "Alameda", "Areeiro"),
    ),
    Street(
        "Avenida Fontes Pereira de Melo", 50, ("Marquês de Pombal", (38.7279, -9.1483), "Picoas", "Saldanha")
    ),
    Street("Avenida da República", 50, ("Saldanha", "Campo Pequeno", "Entrecampos")),
    Street("Alameda do Campo Grande", 60, ("Entrecampos", (38.7535, -9.1517), "Campo Grande")),
    Street("Avenida João XXI", 50, ("Campo Pequeno", "João XXI oeste")),
    Street("Túnel da Avenida João XXI", 50, ("João XXI oeste", "João XXI leste"), tunnel=True),
    Street("Praça Francisco Sá Carneiro", 40, ("João XXI leste", "Areeiro")),
    Street("Túnel do Marquês", 50, ("Amoreiras", (38.7262, -9.1560), "Picoas"), tunnel=True),
    Street("Rua Joaquim António de Aguiar", 40, ("Amoreiras", (38.7243, -9.1550), "Marquês de Pombal")),
    Street(
        "Avenida 24 de Julho",
        50,
        ("Cais do Sodré", (38.7062, -9.1500), "Santos", (38.7045, -9.1650), "Alcântara"),
    ),
    Street("Avenida da Índia", 60, ("Alcântara", (38.7003, -9.1850), (38.6975, -9.1950), "Belém")),
    Street("Avenida da Ribeira das Naus", 40, ("Praça do Comércio", (38.7066, -9.1405), "Cais do Sodré")),
    Street(
        "Avenida Infante Dom Henrique",
        60,
        (
            "Praça do Comércio",
            (38.7090, -9.1310),
            "Santa Apolónia",
            (38.7200, -9.1150),
            "Xabregas",
            (38.7330, -9.1050),
            "Poço do Bispo",
            "Braço de Prata",
            (38.7580, -9.0975),
            "Oriente",
        ),
    ),
    Street("Rua do Alecrim", 30, ("Cais do Sodré", "Camões")),
    Street("Rua da Misericórdia", 30, ("Camões", (38.7140, -9.1447), "Príncipe Real")),
    Street("Rua da Escola Politécnica", 40, ("Príncipe Real", (38.7180, -9.1515), "Rato")),
    Street("Rua Braamcamp", 40, ("Rato", (38.7228, -9.1528), "Marquês de Pombal")),
    Street("Rua das Amoreiras", 40, ("Rato", (38.7216, -9.1575), "Amoreiras")),
    Street("Rua Ferreira Borges", 40, ("Amoreiras", (38.7212, -9.1655), "Campo de Ourique")),
    Street("Rua Domingos Sequeira", 40, ("Campo de Ourique", (38.7150, -9.1640), "Estrela")),
    Street("Rua de São Bernardo", 40, ("Estrela", (38.7155, -9.1565), "Rato")),
    Street("Calçada da Estrela", 40, ("Estrela", (38.7110, -9.1560), "Santos")),
    Street("Avenida Infante Santo", 50, ("Estrela", (38.7095, -9.1640), "Alcântara")),
    Street("Avenida de Ceuta", 60, ("Alcântara", (38.7130, -9.1730), (38.7250, -9.1705), "Sete Rios")),
    Street(
        "Avenida António Augusto de Aguiar", 50, ("Marquês de Pombal", "São Sebastião", "Praça de Espanha")
    ),
    Street("Avenida Columbano Bordalo Pinheiro", 50, ("Praça de Espanha", "Sete Rios")),
    Street("Avenida Duque de Ávila", 40, ("São Sebastião", (38.7347, -9.1500), "Saldanha")),
    Street("Avenida Casal Ribeiro", 40, ("Saldanha", (38.7320, -9.1415), "Estefânia")),
    Street("Rua Pascoal de Melo", 40, ("Estefânia", (38.7312, -9.1365), "Arroios")),
    Street("Rua de Arroios", 30, ("Estefânia", "Anjos")),
    Street("Avenida de Berna", 50, ("Praça de Espanha", (38.7405, -9.1530), "Campo Pequeno")),
    Street("Estrada das Laranjeiras", 50, ("Sete Rios", (38.7450, -9.1705), "Laranjeiras")),
    Street("Estrada de Benfica", 50, ("Sete Rios", (38.7445, -9.1830), "Benfica")),
    Street("Avenida Lusíada", 70, ("Laranjeiras", (38.7520, -9.1850), "Benfica")),
    Street("Eixo Norte-Sul", 80, ("Laranjeiras", (38.7545, -9.1695), "Telheiras")),
    Street("Avenida Padre Cruz", 60, ("Telheiras", "Campo Grande")),
    Street(
        "Avenida dos Estados Unidos da América",
        50,
        ("Entrecampos", "Roma", "Estados Unidos", (38.7525, -9.1215), "Chelas"),
    ),
    Street("Avenida Almirante Gago Coutinho", 60, ("Areeiro", "Estados Unidos", "Relógio")),
    Street("Avenida de Roma", 50, ("Areeiro", (38.7440, -9.1375), "Roma", "Alvalade")),
    Street("Avenida da Igreja", 40, ("Alvalade", (38.7560, -9.1490), "Campo Grande")),
    Street("Avenida do Brasil", 50, ("Campo Grande", (38.7592, -9.1420), "Relógio")),
    Street("Alameda das Comunidades Portuguesas", 50, ("Relógio", (38.7640, -9.1290), "Aeroporto")),
    Street("Avenida de Berlim", 50, ("Aeroporto", (38.7695, -9.1150), "Oriente")),
    Street(
        "Avenida Marechal Gomes da Costa", 60, ("Relógio", "Chelas", (38.7510, -9.1060), "Braço de Prata")
    ),
    Street("Avenida Cidade de Luanda", 50, ("Chelas", "Olivais", "Oriente")),
    Street("Avenida Afonso Costa", 50, ("Areeiro", (38.7420, -9.1280), "Olaias")),
    Street("Avenida Carlos Pinhão", 50, ("Olaias", (38.7480, -9.1180), "Chelas")),
    Street("Calçada da Picheleira", 40, ("Olaias", (38.7330, -9.1165), "Xabregas")),
    Street("Calçada de Santo André", 30, ("Martim Moniz", (38.7150, -9.1325), "Graça")),
    Street("Rua da Graça", 30, ("Graça", "Sapadores")),
    Street("Rua Angelina Vidal", 40, ("Sapadores", (38.7240, -9.1310), "Anjos")),
    Street("Calçada dos Barbadinhos", 30, ("Sapadores", (38.7175, -9.1230), "Santa Apolónia")),
)


def nearest_junction(latitude: float, longitude: float) -> tuple[str, float]:
    """Return the junction nearest to a place, and the distance in metres."""
    distances = ((distance_m(latitude, longitude, *point), name) for name, point in JUNCTIONS.items())
    metres, name = min(distances)
    return name, metres
