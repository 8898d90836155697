"""Students of several sizes beside their teacher: which is the fastest that is accurate enough."""

from ftx.students.figures import StudentFigures, StudentSearch, TeacherFigures
from ftx.students.search import search_students

__all__ = ["StudentFigures", "StudentSearch", "TeacherFigures", "search_students"]
